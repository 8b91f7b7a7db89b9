// AdapterFolder on any two files: an Error(kData), or updates that can be added to tensors of their shape and leave
// finite numbers finite or at least defined.
//
// Input: u16 size of adapter_config.json, that file, then adapter_model.safetensors.
#include "core/checkpoint/adapter_folder.h"
#include "core/checkpoint/manifest.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(adapter) {
  using namespace tsugi;
  static const fuzzing::MemoryFolder folder("_adapter");
  folder.put(kAdapterConfigFile, fuzzing::take_sized(input));
  folder.put(kAdapterFile, input);
  fuzzing::refuse_or([] {
    const AdapterFolder adapter(folder.path());
    CHECK(std::filesystem::is_directory(adapter.base()));
    for (const std::string& name : adapter.updated()) {
      fuzzing::refuse_or([&] { adapter.check(name, {1, 1}); });
      std::vector<float> values(1);
      adapter.add(name, 0, values);
    }
    for (const auto& [plain, name] : adapter.whole()) CHECK(adapter.file().find(name) != nullptr) << plain;
  });
}
