#include "data/stream.h"

#include <stdlib.h>
#include <string.h>

enum { READ_SIZE = DURE_STREAM_READ_SIZE };

void dure_stream_begin(dure_stream *stream, const char *path,
                       dure_status (*read)(void *context, char *bytes, size_t size, size_t *out_got), void *context) {
  *stream = (dure_stream){
      .read = read, .context = context, .path = path, .buffer = stream->buffer, .capacity = stream->capacity};
}

void dure_stream_free(dure_stream *stream) {
  free(stream->buffer);
  *stream = (dure_stream){0};
}

void dure_stream_skip(dure_stream *stream, size_t size) {
  stream->start += size;
  stream->offset += size;
}

static dure_status make_room(dure_stream *stream) {
  if (stream->capacity - stream->end >= READ_SIZE) return NULL;
  size_t grown = stream->capacity * 2 > READ_SIZE * 2 ? stream->capacity * 2 : READ_SIZE * 2;
  char *larger = realloc(stream->buffer, grown);
  if (larger == NULL) {
    return dure_fail(DURE_OUT_OF_MEMORY, "out of memory reading '%s' (%zu bytes so far); lower --max-document",
                     stream->path, stream->end);
  }
  stream->buffer = larger;
  stream->capacity = grown;
  return NULL;
}

dure_status dure_stream_fill(dure_stream *stream, size_t wanted) {
  if (dure_stream_unread(stream) >= wanted || stream->is_ended) return NULL;
  if (stream->start > 0) memmove(stream->buffer, stream->buffer + stream->start, dure_stream_unread(stream));
  stream->end -= stream->start;
  stream->start = 0;
  while (stream->end < wanted && !stream->is_ended) {
    DURE_TRY(make_room(stream));
    size_t got = 0;
    dure_status status = stream->read(stream->context, stream->buffer + stream->end, READ_SIZE, &got);
    stream->end += got;
    stream->is_failed = status != NULL;
    stream->is_ended = status != NULL || got == 0;
    DURE_TRY(status);
  }
  return NULL;
}

dure_status dure_stream_discard(dure_stream *stream, uint64_t size) {
  while (size > 0) {
    if (dure_stream_unread(stream) == 0) DURE_TRY(dure_stream_fill(stream, 1));
    size_t unread = dure_stream_unread(stream);
    if (unread == 0) return NULL;
    size_t part = unread < size ? unread : (size_t)size;
    dure_stream_skip(stream, part);
    size -= part;
  }
  return NULL;
}

// ---- UTF-16 ----

static uint32_t unit_at(const dure_utf16_state *state, const unsigned char *bytes) {
  return state->is_big_endian ? (uint32_t)bytes[0] << 8 | bytes[1] : (uint32_t)bytes[1] << 8 | bytes[0];
}

static size_t put_utf8(char *out, uint32_t code) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = length; i-- > 1; code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
  static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
  out[0] = (char)(leads[length] | code);
  return length;
}

static dure_status read_utf16(void *context, char *bytes, size_t size, size_t *out_got) {
  dure_utf16_state *state = context;
  dure_stream *outer = state->outer;
  *out_got = 0;
  while (*out_got == 0) {
    DURE_TRY(dure_stream_fill(outer, 4));
    size_t unread = dure_stream_unread(outer);
    if (unread == 0) return NULL;
    const unsigned char *units = (const unsigned char *)dure_stream_bytes(outer);
    size_t taken = 0, written = 0;
    while (written + 4 <= size && unread - taken >= 2) {
      uint32_t code = unit_at(state, units + taken);
      bool is_high = (code & 0xfc00) == 0xd800;
      if (is_high && unread - taken < 4 && !outer->is_ended) break;
      taken += 2;
      uint32_t low = is_high && unread - taken >= 2 ? unit_at(state, units + taken) : 0;
      if ((low & 0xfc00) == 0xdc00) {
        code = 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
        taken += 2;
      }
      written += put_utf8(bytes + written, code);
    }
    if (unread == 1) {  // half a unit at the end
      bytes[written++] = (char)0xff;
      taken = 1;
    }
    dure_stream_skip(outer, taken);
    *out_got = written;
  }
  return NULL;
}

void dure_stream_begin_utf16(dure_stream *stream, dure_utf16_state *state) {
  dure_stream_begin(stream, state->outer->path, read_utf16, state);
}
