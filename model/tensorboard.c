#include "model/tensorboard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

struct dure_tensorboard {
  char *path;
  FILE *file;
};

uint32_t dure_crc32c(const void *bytes, size_t size) {
  // Bit by bit: a step writes a few hundred bytes.
  const uint8_t *cursor = bytes;
  uint32_t crc = UINT32_MAX;
  for (size_t i = 0; i < size; i++) {
    crc ^= cursor[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & (0 - (crc & 1)));
  }
  return ~crc;
}

static uint32_t masked_crc(const void *bytes, size_t size) {
  uint32_t crc = dure_crc32c(bytes, size);
  return (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
}

// ---- protobuf's wire format --------------------------------------------------------------------------------------

// A message under construction; what does not fit is noticed at the end.
typedef struct message {
  uint8_t bytes[4096];
  size_t size;
  bool overflowed;
} message;

static void put(message *m, const void *bytes, size_t size) {
  if (size > sizeof(m->bytes) - m->size) {
    m->overflowed = true;
    return;
  }
  memcpy(m->bytes + m->size, bytes, size);
  m->size += size;
}

static void put_little_endian(message *m, uint64_t value, size_t size) {
  uint8_t bytes[8];
  for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(value >> (8 * i));
  put(m, bytes, size);
}

static void put_varint(message *m, uint64_t value) {
  do {
    uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
    put(m, &byte, 1);
    value >>= 7;
  } while (value > 0);
}

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
static void put_key(message *m, uint32_t field, uint32_t wire) { put_varint(m, field << 3 | wire); }

static void put_double(message *m, uint32_t field, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof(bits));
  put_key(m, field, WIRE_64);
  put_little_endian(m, bits, 8);
}

static void put_float(message *m, uint32_t field, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  put_key(m, field, WIRE_32);
  put_little_endian(m, bits, 4);
}

static void put_bytes(message *m, uint32_t field, const void *bytes, size_t size) {
  put_key(m, field, WIRE_BYTES);
  put_varint(m, size);
  put(m, bytes, size);
}

static void put_integer(message *m, uint32_t field, uint64_t value) {
  put_key(m, field, WIRE_VARINT);
  put_varint(m, value);
}

// ---- events ------------------------------------------------------------------------------------------------------

static dure_status write_event(dure_tensorboard *board, const message *event) {
  if (event->overflowed) return dure_fail(DURE_INTERNAL, "'%s': an event is too long", board->path);
  message record = {.size = 0};
  put_little_endian(&record, event->size, 8);
  put_little_endian(&record, masked_crc(record.bytes, 8), 4);
  message tail = {.size = 0};
  put_little_endian(&tail, masked_crc(event->bytes, event->size), 4);
  errno = 0;
  bool is_written = fwrite(record.bytes, 1, record.size, board->file) == record.size &&
                    fwrite(event->bytes, 1, event->size, board->file) == event->size &&
                    fwrite(tail.bytes, 1, tail.size, board->file) == tail.size && fflush(board->file) == 0;
  return is_written ? NULL : dure_fail_errno("cannot write '%s'", board->path);
}

static void begin_event(message *event, uint64_t step) {
  event->size = 0;
  event->overflowed = false;
  put_double(event, 1, (double)dure_os_unix_seconds());
  if (step > 0) put_integer(event, 2, step);
}

static dure_status write_start(dure_tensorboard *board, uint64_t first_step) {
  static const char version[] = "brain.Event:2";
  message event;
  begin_event(&event, 0);
  put_bytes(&event, 3, version, sizeof(version) - 1);
  DURE_TRY(write_event(board, &event));
  if (first_step == 0) return NULL;
  message log = {.size = 0};
  put_integer(&log, 1, 1);  // SessionLog.status = START
  begin_event(&event, first_step);
  put_bytes(&event, 7, log.bytes, log.size);
  return write_event(board, &event);
}

dure_status dure_tensorboard_create(const char *directory, uint64_t first_step, dure_tensorboard **out_board) {
  *out_board = NULL;
  char name[128];
  snprintf(name, sizeof(name), "events.out.tfevents.%010" PRId64 ".dure.%" PRIu64, dure_os_unix_seconds(),
           dure_os_process_id());
  dure_tensorboard *board = calloc(1, sizeof(*board));
  if (board == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", name);
  board->path = dure_os_path_join(directory, name);
  dure_status status = NULL;
  if (board->path == NULL) {
    status = dure_fail(DURE_OUT_OF_MEMORY, "out of memory writing '%s'", name);
  } else if ((board->file = fopen(board->path, "ab")) == NULL) {
    status = dure_fail_errno("cannot create '%s'", board->path);
  } else {
    status = write_start(board, first_step);
  }
  if (status != NULL) {
    dure_tensorboard_close(board);
    return status;
  }
  *out_board = board;
  return NULL;
}

dure_status dure_tensorboard_append(dure_tensorboard *board, uint64_t step, const dure_scalar *scalars, size_t count) {
  message summary = {.size = 0};
  for (size_t i = 0; i < count; i++) {
    message value = {.size = 0};
    put_bytes(&value, 1, scalars[i].tag, strlen(scalars[i].tag));
    put_float(&value, 2, (float)scalars[i].value);
    put_bytes(&summary, 1, value.bytes, value.size);
    summary.overflowed = summary.overflowed || value.overflowed;
  }
  message event;
  begin_event(&event, step);
  put_bytes(&event, 5, summary.bytes, summary.size);
  event.overflowed = event.overflowed || summary.overflowed;
  return write_event(board, &event);
}

void dure_tensorboard_close(dure_tensorboard *board) {
  if (board == NULL) return;
  if (board->file != NULL) fclose(board->file);
  free(board->path);
  free(board);
}
