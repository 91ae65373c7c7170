// Lists of words that a document must not have, as C4's rule has it (Raffel et al. 2020, section 2.2: any page that
// contains a word of the "List of Dirty, Naughty, Obscene or Otherwise Bad Words" goes). The lists are the user's.
//
// A list is a text file, one word or phrase a line, blank lines and lines that begin with # left out. Words are
// compared as data/text_words.h folds them: whole, without regard to case and punctuation. In Korean, where particles
// are written onto the word, a word may be followed by one (은, 는, 에서, 들이, ...).
#ifndef DURE_DATA_WORD_LIST_H_
#define DURE_DATA_WORD_LIST_H_

#include "data/language.h"
#include "data/text_words.h"
#include "runtime/status.h"

typedef struct dure_word_list dure_word_list;

// `files`: paths separated by commas; "ko=PATH" is for documents of that language alone.
DURE_MUST_CHECK dure_status dure_word_list_open(const char *files, dure_word_list **out_list);
void dure_word_list_destroy(dure_word_list *list);  // NULL is fine

// How often words of the list for this language occur. May be called by several threads at once.
uint64_t dure_word_list_count(const dure_word_list *list, dure_language language, const dure_text_words *words);

uint64_t dure_word_list_hash(const dure_word_list *list);  // of the words in it

#endif  // DURE_DATA_WORD_LIST_H_
