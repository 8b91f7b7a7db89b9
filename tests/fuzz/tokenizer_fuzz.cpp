// load_tokenizer on any bytes: an Error, or a tokenizer that survives being written and read, and whose text
// round-trips.
#include <algorithm>

#include "core/data/tokenizer/tokenizer.h"
#include "ops/base/error.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tsugi;
  static const fuzzing::MemoryFile file(".json");
  file.put({data, size});
  try {
    const auto tokenizer = load_tokenizer(file.path());
    const std::string json = tokenizer->to_json();
    file.put({reinterpret_cast<const uint8_t*>(json.data()), json.size()});
    CHECK(load_tokenizer(file.path())->to_json() == json);
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < tokenizer->vocabulary(); ++id) ids.push_back(id);
    CHECK(tokenizer->encode(tokenizer->decode(ids)) == ids);
    tokenizer->encode({reinterpret_cast<const char*>(data), size});
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kData) << error.what();
  }
  return 0;
}
