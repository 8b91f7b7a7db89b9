// parse_huggingface_config on any text: an Error(kData), or a model that can be built, whose own text says the same.
#include "core/config/families.h"
#include "core/model/huggingface.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(huggingface_config) {
  using namespace tsugi;
  const std::string text(fuzzing::as_text(input));
  HuggingfaceModel once;
  bool read = false;
  fuzzing::refuse_or([&] {
    once = parse_huggingface_config(text, "input");
    read = true;
  });
  if (!read) return;
  CHECK(model_complaints(once.model).empty()) << text;
  CHECK_GT(once.model.vocabulary(), 0);
  const std::string written = to_huggingface_config(once);
  CHECK_EQ(to_huggingface_config(parse_huggingface_config(written, "written")), written);
}
