#include "data/encoding_names.h"

#include <stddef.h>
#include <string.h>

#include "data/name_list.h"

static const struct {
  const char *name;
  const char *labels;  // separated by single spaces
} table[] = {
    {"UTF-8", "utf-8 utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8"},
    {"CP949",
     "euc-kr euckr cp949 cseuckr csksc56011987 iso-ir-149 korean ks_c_5601 ks_c_5601-1987 ks_c_5601-1989 ksc5601 "
     "ksc_5601 ms949 uhc windows-949 x-windows-949"},
    {"CP1252",
     "windows-1252 cp1252 x-cp1252 ascii us-ascii ansi_x3.4-1968 cp819 ibm819 csisolatin1 iso-8859-1 iso8859-1 "
     "iso88591 iso_8859-1 iso_8859-1:1987 iso-ir-100 l1 latin1"},
    {"CP1254",
     "windows-1254 cp1254 x-cp1254 csisolatin5 iso-8859-9 iso8859-9 iso88599 iso_8859-9 iso-ir-148 l5 latin5"},
    {"CP874", "windows-874 dos-874 iso-8859-11 iso8859-11 iso885911 tis-620"},
    {"CP932", "shift_jis shift-jis sjis x-sjis ms_kanji csshiftjis ms932 windows-31j cp932"},
    {"EUC-JP-MS", "euc-jp x-euc-jp cseucpkdfmtjapanese eucjp"},
    {"GB18030", "gb18030 gbk x-gbk gb2312 gb_2312 gb_2312-80 csgb2312 csiso58gb231280 chinese iso-ir-58 cp936 euc-cn"},
    {"BIG5-HKSCS", "big5 big5-hkscs cn-big5 csbig5 x-x-big5"},
    {"ISO-8859-8", "visual logical csisolatinhebrew hebrew iso-8859-8-e iso-8859-8-i"},
    {"KOI8-U", "koi8-u koi8-ru"},
    {"MACINTOSH", "macintosh mac csmacintosh x-mac-roman"},
    {"MAC-CYRILLIC", "x-mac-cyrillic x-mac-ukrainian"},
};

const char *dure_encoding_name(const char *label) {
  for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
    if (dure_name_is_listed(table[i].labels, label, strlen(label))) return table[i].name;
  }
  return label;
}
