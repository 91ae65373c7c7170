// Collectives by the host, for any device (see communicator.h): a thread of its own waits until the device has come to
// a collective, moves the bytes and signals the device.
//
// Buffers that the host reaches are read and written where they lie. Others are copied by the device into pinned
// buffers when it comes to the collective, and back at the join, in chunks: while one travels, the device copies the
// next, and takes back the one before. Before the join the device is never made to wait: a
// queue that runs in order would hold up everything behind. In a world of one nothing is waited for or sent.
#ifndef DURE_RUNTIME_COMMUNICATOR_HOST_H_
#define DURE_RUNTIME_COMMUNICATOR_HOST_H_

#include "runtime/communicator.h"

typedef struct dure_host_communicator dure_host_communicator;

typedef struct dure_host_communicator_options {
  uint64_t chunk_bytes;  // the same on all ranks
  bool stages;           // by pinned buffers also what the host reaches: so would a device with memory of its own
} dure_host_communicator_options;

DURE_MUST_CHECK dure_status dure_host_communicator_create(dure_world *world, dure_device *device,
                                                          const dure_host_communicator_options *options,
                                                          dure_host_communicator **out_communicator);
void dure_host_communicator_destroy(dure_host_communicator *communicator);
// As in communicator.h; `what` has been checked.
DURE_MUST_CHECK dure_status dure_host_communicator_begin(dure_host_communicator *communicator, dure_stream *stream,
                                                         const dure_collective *what, uint64_t *out_ticket);
DURE_MUST_CHECK dure_status dure_host_communicator_join(dure_host_communicator *communicator, uint64_t ticket);
DURE_MUST_CHECK dure_status dure_host_communicator_wait(dure_host_communicator *communicator, uint64_t ticket);
dure_communicator_statistics dure_host_communicator_statistics(dure_host_communicator *communicator);

#endif  // DURE_RUNTIME_COMMUNICATOR_HOST_H_
