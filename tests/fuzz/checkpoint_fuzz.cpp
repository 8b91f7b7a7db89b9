// load_checkpoint on any three files behind a manifest that fits: an Error(kData), or a state with every value that was
// asked for.
//
// Input: u16 size of state/run.json, that file, u16 size of the shard of moments, that file, then model.safetensors.
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/manifest.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(checkpoint) {
  using namespace tsugi;
  static const fuzzing::MemoryFolder folder("_checkpoint");
  std::filesystem::create_directories(folder.path() + "/state");
  Manifest manifest;
  manifest.step = manifest.generation = manifest.world_size = 1;
  for (const std::string& name :
       {std::string(kModelFile), std::string("config.json"), std::string(kRunFile), shard_file(0, 1)}) {
    manifest.files[name] = {};
  }
  const std::string text = manifest_text(manifest);
  folder.put(kManifestFile, std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  folder.put(kRunFile, fuzzing::take_sized(input));
  folder.put(shard_file(0, 1), fuzzing::take_sized(input));
  folder.put(kModelFile, input);
  fuzzing::refuse_or([] {
    constexpr float kUntouched = -7e33f;
    std::vector<float> master(6, kUntouched), first(6, kUntouched), second(6, kUntouched);
    const std::vector<SavedTensor> tensors = {{"a", {2, 2}}, {"b", {2}}};
    const std::vector<StateRange> ranges = {{0, 0, 4, master.data(), first.data(), second.data()},
                                            {1, 1, 1, master.data() + 5, first.data() + 5, second.data() + 5}};
    const RunState state = load_checkpoint(folder.path(), tensors, ranges);
    CHECK_EQ(state.step, 1);
    for (const size_t i : {size_t{0}, size_t{3}, size_t{5}}) {
      for (const std::vector<float>* values : {&master, &first, &second}) CHECK_NE((*values)[i], kUntouched) << i;
    }
    CHECK_EQ(master[4], kUntouched) << "what was not asked for was written";
  });
}
