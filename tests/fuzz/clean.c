// Cleaning's parsers: HTML, XML, licences, decoding, layout and normalisation. The first byte chooses the format.
#include "data/decode.h"
#include "data/licence.h"
#include "data/markup.h"
#include "data/normalise.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  if (size < 1) return 0;
  dure_format format = bytes[0] % 2 == 0 ? DURE_FORMAT_HTML : DURE_FORMAT_XML;  // '0' and '1' in the seeds
  dure_document document = {.path = "", .format = format, .bytes = (const char *)bytes + 1, .size = size - 1};
  dure_bytes decoded = {0}, laid_out = {0}, text = {0};
  dure_layout *layout = NULL;
  dure_status status = dure_layout_create(&layout);
  if (status == NULL && dure_decode(&document, "cp949", bytes[0] % 4 < 2, &decoded, NULL) != DURE_DECODED_NOT) {
    for (size_t i = 0; i < decoded.size; i++) decoded.data[i] = decoded.data[i] == '\0' ? ' ' : decoded.data[i];
    dure_bytes_append(&decoded, "", 1);
    decoded.size--;
    const char *markup = decoded.data != NULL ? decoded.data : "";
    status = format == DURE_FORMAT_HTML ? dure_html_read(markup, decoded.size, layout)
                                        : dure_xml_read(markup, decoded.size, layout);
    dure_licence_find(markup, decoded.size, &text);
    dure_bytes_clear(&text);
    if (status == NULL) status = dure_layout_finish(layout, &laid_out);
    if (status == NULL) dure_text_normalise(laid_out.data, laid_out.size, false, &text);
  }
  dure_status_free(status);
  dure_layout_destroy(layout);
  dure_bytes_free(&decoded);
  dure_bytes_free(&laid_out);
  dure_bytes_free(&text);
  return 0;
}
