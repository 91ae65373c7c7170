// What the driver tells of power, energy and temperature while a device works: NVIDIA's management library, loaded when
// it is there, and the hwmon files of other cards. A device that nothing is told of has no meter.
#ifndef DURE_CLI_ENERGY_METER_H_
#define DURE_CLI_ENERGY_METER_H_

#include "runtime/hal.h"

typedef struct energy_meter energy_meter;

typedef struct energy_reading {
  double joules;   // since any moment, growing; NaN: not told
  double watts;    // about now, as the driver averages it; NaN: not told
  double celsius;  // NaN: not told
} energy_reading;

energy_meter *energy_meter_open(const dure_device_info *info);  // NULL: nothing is told of this device
void energy_meter_close(energy_meter *meter);                   // NULL is fine
energy_reading energy_meter_read(energy_meter *meter);

#endif  // DURE_CLI_ENERGY_METER_H_
