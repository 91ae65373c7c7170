// A stream of bytes with a window to look ahead in: a file, standard input, or what an archive or a conversion makes of
// another stream. Memory is the window, which grows to what its reader asks for.
#ifndef DURE_DATA_STREAM_H_
#define DURE_DATA_STREAM_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

#ifdef DURE_FUZZ  // windows that end within what is fuzzed, and no half a megabyte to clear for each input
enum { DURE_STREAM_READ_SIZE = 1 << 10 };
#else
enum { DURE_STREAM_READ_SIZE = 1 << 18 };
#endif

typedef struct dure_stream {
  // Reads up to `size` bytes; 0 means the end. The stream's first failure ends it.
  dure_status (*read)(void *context, char *bytes, size_t size, size_t *out_got);
  void *context;
  const char *path;  // for messages
  char *buffer;      // bytes [start, end) are unread
  size_t start, end, capacity;
  uint64_t offset;  // of buffer[start] in the stream
  bool is_ended, is_failed;
} dure_stream;

// Makes at least `wanted` unread bytes available, or all that are left. What was read before a failure stays.
DURE_MUST_CHECK dure_status dure_stream_fill(dure_stream *stream, size_t wanted);

// Takes `size` of the unread bytes.
void dure_stream_skip(dure_stream *stream, size_t size);

// Throws away `size` bytes, read or not yet read; fewer when the stream ends.
DURE_MUST_CHECK dure_status dure_stream_discard(dure_stream *stream, uint64_t size);

static inline size_t dure_stream_unread(const dure_stream *stream) { return stream->end - stream->start; }
static inline const char *dure_stream_bytes(const dure_stream *stream) { return stream->buffer + stream->start; }

// Begins a stream over `read`; a buffer of an earlier one is kept.
void dure_stream_begin(dure_stream *stream, const char *path,
                       dure_status (*read)(void *context, char *bytes, size_t size, size_t *out_got), void *context);
void dure_stream_free(dure_stream *stream);

// Begins a stream of the UTF-8 of the UTF-16 text that follows in `outer`, whose mark has been taken. Lone surrogates
// come out as three bytes that are no valid UTF-8, for decoding to find. `state` lives as long as the stream.
typedef struct dure_utf16_state {
  dure_stream *outer;
  bool is_big_endian;
} dure_utf16_state;
void dure_stream_begin_utf16(dure_stream *stream, dure_utf16_state *state);

#endif  // DURE_DATA_STREAM_H_
