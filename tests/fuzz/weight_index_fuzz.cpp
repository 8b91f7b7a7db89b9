// WeightFolder on any index: an Error(kData), or files that are looked for in the folder alone.
#include "core/checkpoint/weight_folder.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(weight_index) {
  using namespace tsugi;
  static const fuzzing::MemoryFolder folder("_weights");
  folder.put(kIndexFile, input);
  fuzzing::refuse_or([] {
    WeightFolder weights(folder.path());
    for (const std::string& name : weights.names()) {
      try {
        std::string found;
        weights.file_with(name, found);
        LOG(FATAL) << "there is no such file: " << name;
      } catch (const Error& error) {
        CHECK(error.code() == ExitCode::kData) << error.what();
        CHECK(std::string(error.what()).find(folder.path() + "/") != std::string::npos) << error.what();
      }
    }
  });
}
