// parse_huggingface_config on any text: an Error(kData), or a model that can be built, whose own text says the same.
#include "core/config/families.h"
#include "core/model/huggingface.h"
#include "ops/base/error.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tsugi;
  const std::string text(reinterpret_cast<const char*>(data), size);
  HuggingfaceModel once;
  try {
    once = parse_huggingface_config(text, "input");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kData) << error.what();
    return 0;
  }
  CHECK(model_complaints(once.model).empty()) << text;
  CHECK_GT(once.model.vocabulary(), 0);
  const std::string written = to_huggingface_config(once);
  CHECK_EQ(to_huggingface_config(parse_huggingface_config(written, "written")), written);
  return 0;
}
