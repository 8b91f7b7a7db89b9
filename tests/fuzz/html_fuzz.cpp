// A page of a manual, any bytes: never an error, and its text is text.
#include "core/data/utf8.h"
#include "launch/corpus/handbook.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(html) {
  using namespace tsugi;
  const std::string_view html = fuzzing::as_text(input);
  const bool valid = valid_utf8_prefix(html) == html.size();
  for (const Section& section : parse_page(html).sections) {
    const std::string text = section.text();
    CHECK(text.find('\f') == std::string::npos);
    if (valid) CHECK_EQ(valid_utf8_prefix(text), text.size());
  }
}
