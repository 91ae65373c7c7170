// Names of encodings as pages declare them, and what browsers take them for.
#ifndef DURE_DATA_ENCODING_NAMES_H_
#define DURE_DATA_ENCODING_NAMES_H_

// The converter for a declared name, without regard to case: where the Encoding Standard (WHATWG, section 4.2) reads a
// name as the superset that writers used (EUC-KR as CP949, ISO 8859-1 as Windows-1252, GB 2312 as GB 18030), that one;
// else the name itself, for the C library to know or not. Static, or `label` itself.
const char *dure_encoding_name(const char *label);

#endif  // DURE_DATA_ENCODING_NAMES_H_
