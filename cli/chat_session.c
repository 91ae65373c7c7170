#include "cli/chat_session.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"
#include "model/completion.h"
#include "runtime/os.h"

typedef struct text_buffer {
  char *bytes;
  size_t length, capacity;
} text_buffer;

typedef struct session {
  const chat_session_options *options;
  dure_engine *engine;
  json_t *messages;
  bool is_shown;     // prompts and hints
  text_buffer line;  // a message as it is typed
} session;

static const char help[] =
    "  a line is a message; end it with \\ to go on in the next\n"
    "  /reset         forget the conversation\n"
    "  /system TEXT   forget it, and begin with this system's message\n"
    "  /save FILE     write the messages as JSON\n"
    "  /quit, Ctrl-D  end;  Ctrl-C ends an answer\n";

static dure_status append_text(text_buffer *buffer, const char *bytes, size_t length) {
  if (length > SIZE_MAX / 2 - buffer->length - 1) return dure_fail(DURE_OUT_OF_MEMORY, "a message is too long");
  if (buffer->length + length + 1 > buffer->capacity) {
    const size_t capacity = (buffer->length + length + 1) * 2;
    char *larger = realloc(buffer->bytes, capacity);
    if (larger == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for a message");
    buffer->bytes = larger;
    buffer->capacity = capacity;
  }
  if (length > 0) memcpy(buffer->bytes + buffer->length, bytes, length);
  buffer->length += length;
  buffer->bytes[buffer->length] = '\0';
  return NULL;
}

// ---- messages ------------------------------------------------------------------------------------------------------

// Takes the reference to `content`; false when there is none.
static bool add_message(const session *s, const char *role, json_t *content) {
  if (content == NULL) return false;
  return json_array_append_new(s->messages, json_pack("{s:s, s:o}", "role", role, "content", content)) == 0;
}

static dure_status begin_conversation(const session *s, const char *system) {
  json_array_clear(s->messages);
  if (system == NULL || add_message(s, "system", json_string(system))) return NULL;
  return dure_fail(DURE_INVALID_ARGUMENT, "the system's message is not UTF-8");
}

static dure_status save_messages(const session *s, const char *path) {
  if (*path == '\0') return dure_fail(DURE_INVALID_ARGUMENT, "/save needs the name of a file");
  char *text = json_dumps(s->messages, JSON_INDENT(2));
  if (text == NULL) return dure_fail(DURE_OUT_OF_MEMORY, "no memory for the messages");
  dure_status status = dure_os_write_file(path, text, strlen(text));
  free(text);
  return status;
}

// ---- answers -------------------------------------------------------------------------------------------------------

typedef struct answer {
  uint64_t id;
  dure_completion *completion;
  dure_request_progress progress;
  uint32_t seen;
  bool has_stopped;
  text_buffer text;
} answer;

static dure_status emit(answer *a, const char *bytes, size_t length) {
  if (length == 0) return NULL;
  fwrite(bytes, 1, length, stdout);
  fflush(stdout);
  DURE_TRY(output_check());
  return append_text(&a->text, bytes, length);
}

static dure_status take_tokens(const session *s, answer *a) {
  dure_scored_token tokens[16];
  const char *bytes;
  size_t length;
  uint32_t count = 0;
  do {
    DURE_TRY(dure_engine_poll(s->engine, a->id, a->seen, tokens, 16, &count, &a->progress));
    a->seen += count;
    for (uint32_t i = 0; i < count && !a->has_stopped; i++) {
      DURE_TRY(dure_completion_push(a->completion, tokens[i].token, &bytes, &length, &a->has_stopped));
      DURE_TRY(emit(a, bytes, length));
    }
  } while (count == 16);
  return NULL;
}

static dure_status stream_answer(const session *s, answer *a) {
  const char *bytes;
  size_t length;
  for (bool is_busy = true; is_busy;) {
    DURE_TRY(dure_engine_step(s->engine, &is_busy));
    DURE_TRY(take_tokens(s, a));
    if (a->has_stopped || dure_os_interrupted()) dure_engine_cancel(s->engine, a->id);
  }
  if (a->progress.finish == DURE_FINISH_NOT_FINITE)
    return dure_fail(DURE_NOT_FINITE, "no token could be drawn: the logits are not finite");
  DURE_TRY(dure_completion_flush(a->completion, &bytes, &length));
  DURE_TRY(emit(a, bytes, length));
  putchar('\n');
  fflush(stdout);
  if (s->is_shown && a->progress.finish == DURE_FINISH_CONTEXT)
    fputs("(the conversation is as long as it can be: /reset)\n", stderr);
  return output_check();
}

static dure_status encode_conversation(const session *s, dure_ids *out_ids) {
  const dure_encode_options encoding = {.parse_special = true};
  char *text = NULL;
  size_t length = 0;
  json_t *request = json_pack("{s:O}", "messages", s->messages);
  dure_status status = dure_chat_render(s->options->chat, request, &text, &length);
  json_decref(request);
  if (status == NULL) status = dure_tokenizer_encode(s->options->tokenizer, text, length, &encoding, out_ids);
  free(text);
  return status;
}

static dure_status run_answer(const session *s, answer *a) {
  dure_ids ids = {0};
  dure_request request = s->options->request;
  dure_status status = encode_conversation(s, &ids);
  if (status == NULL && ids.count >= dure_engine_context(s->engine)) {
    status = dure_fail(DURE_INVALID_ARGUMENT, "the conversation's %zu tokens are more than fit into %u: /reset",
                       ids.count, dure_engine_context(s->engine));
  }
  request.tokens = ids.ids;
  request.count = (uint32_t)ids.count;
  if (status == NULL)
    status = dure_completion_create(s->options->tokenizer, &s->options->stop, s->options->stop != NULL ? 1 : 0,
                                    &a->completion);
  if (status == NULL) status = dure_engine_submit(s->engine, &request, &a->id);
  dure_ids_free(&ids);
  if (status == NULL) {
    status = stream_answer(s, a);
    dure_engine_release(s->engine, a->id);
  }
  return status;
}

// Asks, prints the answer, and keeps both; a question without an answer is forgotten.
static dure_status ask(const session *s, const char *question, size_t length) {
  answer a = {0};
  dure_status status = append_text(&a.text, "", 0);
  if (status == NULL && !add_message(s, "user", json_stringn(question, length)))
    status = dure_fail(DURE_INVALID_ARGUMENT, "the message is not UTF-8");
  const bool is_asked = status == NULL;
  dure_os_clear_interrupt();
  if (is_asked) status = run_answer(s, &a);
  dure_os_clear_interrupt();
  if (status == NULL && !add_message(s, "assistant", output_json_text(a.text.bytes, a.text.length)))
    status = dure_fail(DURE_OUT_OF_MEMORY, "no memory for the answer");
  if (status != NULL && is_asked) json_array_remove(s->messages, json_array_size(s->messages) - 1);
  dure_completion_destroy(a.completion);
  free(a.text.bytes);
  return status;
}

// ---- lines ---------------------------------------------------------------------------------------------------------

// One message, with its lines joined; false at the end of the input.
static dure_status read_message(session *s, bool *out_is_there) {
  char piece[4096];
  s->line.length = 0;
  *out_is_there = false;
  DURE_TRY(append_text(&s->line, "", 0));
  if (s->is_shown) fputs("> ", stderr);
  while (fgets(piece, sizeof(piece), stdin) != NULL) {
    *out_is_there = true;
    DURE_TRY(append_text(&s->line, piece, strlen(piece)));
    if (s->line.bytes[s->line.length - 1] != '\n') continue;  // a longer line, or the last without its end
    s->line.bytes[--s->line.length] = '\0';
    if (s->line.length == 0 || s->line.bytes[s->line.length - 1] != '\\') return NULL;
    s->line.bytes[s->line.length - 1] = '\n';
    if (s->is_shown) fputs(". ", stderr);
  }
  return NULL;
}

// The rest of a line that is this command, or NULL.
static const char *rest_of(const char *line, const char *command) {
  const size_t length = strlen(command);
  if (strncmp(line, command, length) != 0 || (line[length] != '\0' && line[length] != ' ')) return NULL;
  while (line[length] == ' ') line++;
  return line + length;
}

static dure_status take_message(const session *s, bool *out_is_over) {
  const char *line = s->line.bytes, *rest;
  *out_is_over = rest_of(line, "/quit") != NULL;
  if (*out_is_over || *line == '\0') return NULL;
  if (rest_of(line, "/reset") != NULL) return begin_conversation(s, s->options->system);
  if ((rest = rest_of(line, "/system")) != NULL) return begin_conversation(s, *rest != '\0' ? rest : NULL);
  if ((rest = rest_of(line, "/save")) != NULL) return save_messages(s, rest);
  if (line[0] == '/' && line[1] >= 'a' && line[1] <= 'z') {
    fputs(help, stderr);
    return NULL;
  }
  return ask(s, line, s->line.length);
}

// What goes wrong with a message is said, and the next one is waited for.
static dure_status run_session(session *s) {
  bool is_there = true, is_over = false;
  DURE_TRY(begin_conversation(s, s->options->system));
  if (s->is_shown) fputs("/help lists what there is besides messages; Ctrl-D ends\n", stderr);
  while (!is_over) {
    DURE_TRY(read_message(s, &is_there));
    if (!is_there) break;
    dure_status status = take_message(s, &is_over);
    if (status != NULL && dure_status_code(status) != DURE_INVALID_ARGUMENT && dure_status_code(status) != DURE_IO)
      return status;
    if (status != NULL) fprintf(stderr, "dure: %s\n", dure_status_message(status));
    dure_status_free(status);
  }
  if (s->is_shown) fputc('\n', stderr);
  return NULL;
}

dure_status chat_session_run(const chat_session_options *options) {
  session s = {.options = options, .messages = json_array(), .is_shown = dure_os_is_terminal(2)};
  const uint32_t context = options->model->config.context_length;
  const dure_engine_options engine = {
      .sequences = 1,
      .context = context < CHAT_SESSION_CONTEXT_MOST ? context : CHAT_SESSION_CONTEXT_MOST,
      .candidate_count = dure_tokenizer_vocabulary_size(options->tokenizer),
      .queue = 1,
      .cache_type = options->cache_type,
      .speculation = options->speculation};
  dure_status status = s.messages == NULL ? dure_fail(DURE_OUT_OF_MEMORY, "no memory for a conversation") : NULL;
  if (status == NULL && !dure_chat_has_template(options->chat))
    status = dure_fail(DURE_NOT_FOUND, "the model has no chat template; without one only --prompt can be continued");
  if (status == NULL) status = dure_engine_create(options->model, &engine, &s.engine);
  if (status == NULL) status = run_session(&s);
  dure_engine_destroy(s.engine);
  json_decref(s.messages);
  free(s.line.bytes);
  return status;
}
