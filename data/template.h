// Chat templates: a sandboxed part of Jinja, the language in which models say how a conversation becomes a prompt.
//
// The language is that of Jinja 3 as chat templates use it, with trim_blocks and lstrip_blocks on:
//   statements   for (unpacking, `if`, else, loop.index0, .first, .last, .previtem, ...; break, continue), if / elif /
//                else, set (several names, attributes of a namespace, blocks), macro, filter, with, raw, generation
//                (which changes nothing)
//   expressions  arithmetic, ~, comparisons (chained), in, is, and / or / not, a if b else c, slices, lists, tuples,
//                maps, calls with names; methods of texts, maps and lists; filters and tests (tables in
//                template_filters.c)
//   functions    range, namespace, dict, raise_exception, strftime_now
// What is not there (include, import, extends, block, call, recursive loops, unknown filters, tests and methods) is
// refused by name, most of it while parsing. Values are Python's: their truth, comparison, text ("True", "None",
// shortest numbers) and JSON are those of `transformers`.
//
// Nothing outside the given variables can be reached, and a template cannot run away: memory, output, steps and depth
// are limited. Templates are hostile text and may come from strangers' files.
#ifndef DURE_DATA_TEMPLATE_H_
#define DURE_DATA_TEMPLATE_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

struct json_t;
typedef struct dure_template dure_template;

// `name` stands for the template in messages. DURE_CORRUPT naming the line for what is not this language or not UTF-8,
// DURE_UNSUPPORTED for what Dure does not have. Release with dure_template_close.
DURE_MUST_CHECK dure_status dure_template_parse(const char *name, const char *text, size_t length,
                                                dure_template **out_template);
void dure_template_close(dure_template *parsed);  // NULL is fine

typedef struct dure_template_limits {  // 0: the default
  uint64_t steps;                      // evaluated nodes and elements (20 million)
  size_t memory;                       // bytes for values and output together (256 MiB)
  size_t output;                       // bytes of text (64 MiB)
} dure_template_limits;

// The text that a parsed template makes of `variables` (an object), UTF-8 with a NUL after it; release with free().
// `unix_seconds` is what strftime_now tells, in UTC; below 0: the clock. `limits` may be NULL. A parsed template is
// immutable: several threads may render one at the same time.
//
// DURE_INVALID_ARGUMENT with the template's own message when it calls raise_exception, or naming the line for a
// mistake in it (an undefined value's attribute, a text plus a number) or a limit that was passed.
DURE_MUST_CHECK dure_status dure_template_render(const dure_template *parsed, const struct json_t *variables,
                                                 int64_t unix_seconds, const dure_template_limits *limits,
                                                 char **out_text, size_t *out_length);

#endif  // DURE_DATA_TEMPLATE_H_
