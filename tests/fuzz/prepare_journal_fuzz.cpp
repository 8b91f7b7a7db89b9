// What `prepare` finds in its work folder: nothing, or a scan whose blocks lie in its files and a progress whose files
// lie in the folder. Never an error: what is wrong is made again.
//
// Input: the files scan.json, blocks.scan, documents.scan and progress.json, the first three each with a size of two
// bytes before it. The scan is one of three files.
#include "core/data/prepare/progress.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(prepare_journal) {
  using namespace tsugi;
  constexpr size_t kFiles = 3;
  static const fuzzing::MemoryFolder folder("_journal");
  static const WorkFolder& work = []() -> const WorkFolder& {
    static WorkFolder made(folder.path());
    made.begin(7);
    return made;
  }();
  for (const char* name : {"scan.json", "blocks.scan", "documents.scan"}) {
    folder.put(std::string(".work/") + name, fuzzing::take_sized(input));
  }
  folder.put(".work/progress.json", input);
  if (const std::optional<Scan> scan = work.load_scan(kFiles)) {
    CHECK_GE(scan->documents, scan->validation_documents);
    int64_t document = 0;
    for (const BlockStart& block : scan->blocks) {
      CHECK_LT(block.state.file, kFiles);
      CHECK(block.state.offset >= 0 && block.state.line >= 1);
      CHECK(block.document >= document && block.document <= scan->documents);
      document = block.document;
    }
    for (const char32_t point : scan->code_points) CHECK_LE(static_cast<uint32_t>(point), 0x10FFFFU);
  }
  if (const std::optional<EncodeState> state = work.load_progress()) {
    CHECK_GE(state->next_block, 0);
    for (const SideState& side : state->sides) {
      CHECK(side.current.tokens >= 0 && side.current.documents >= 0);
      for (const ShardIndex::Shard& shard : side.shards) {
        CHECK(shard.file.find('/') == std::string::npos) << shard.file;
        CHECK(shard.file.starts_with("train") || shard.file.starts_with("validation")) << shard.file;
        CHECK_GT(shard.tokens, 0);
      }
    }
  }
}
