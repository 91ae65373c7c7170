// The licence that a page states for itself in its markup.
//
// In this order: a link with rel="license" (microformats; HTML Living Standard, section 4.6.7.10); <meta> named
// license, dcterms.license, dc.rights and the like; Mallard's <license href>; links to Creative Commons' licences, when
// all of them are to the same one. (Links without rel may speak of a picture, so that two of them tell nothing.)
#ifndef DURE_DATA_LICENCE_H_
#define DURE_DATA_LICENCE_H_

#include "data/bytes.h"

// Appends the licence to `out`: Creative Commons' by their SPDX identifiers, such as CC-BY-SA-4.0, others as they stand
// (an address or a name), cut to 200 bytes. False when `markup`, which is valid UTF-8, states none. Behind its `size`
// bytes, none of them NUL, stands a NUL: whole pages are searched, which the C library does fastest by that.
bool dure_licence_find(const char *markup, size_t size, dure_bytes *out);

// The SPDX identifier of a Creative Commons licence by its address; false for every other address.
bool dure_licence_of_url(const char *url, size_t size, char out_name[40]);

#endif  // DURE_DATA_LICENCE_H_
