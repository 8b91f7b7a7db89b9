// read_shard_index on any bytes: an Error, or an index whose names stay in its folder and whose sums are right.
#include "core/data/token_shards.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(token_shards) {
  using namespace tsugi;
  static const fuzzing::MemoryFile file(".index.json");
  file.put(input);
  fuzzing::refuse_or([] {
    const ShardIndex index = read_shard_index(file.path());
    int64_t tokens = 0;
    for (const ShardIndex::Shard& shard : index.shards) {
      CHECK(shard.file.find('/') == std::string::npos && shard.file[0] != '.') << shard.file;
      tokens += shard.tokens;
    }
    CHECK_EQ(tokens, index.tokens);
  });
}
