// The index of several token files that are one token space.
//
// NAME.index.json: {"format": "tsugi token shards", "version": 1, "vocabulary", "tokens", "documents",
//   "shards": [{"file", "tokens", "documents", "bytes", "crc32c"}, …], "hash"}. `file` is a name in the folder of the
//   index; `bytes` and `crc32c` (8 hexadecimal digits) are those of the whole file; `hash` (16) is XXH64 of the JSON
//   text of all before it. Written once, without permission to write.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/data/token_part.h"

namespace tsugi {

struct ShardIndex {
  struct Shard {
    std::string file;
    int64_t tokens = 0;
    int64_t documents = 0;
    int64_t bytes = 0;
    uint32_t crc32c = 0;
  };

  std::string path;  ///< of the index
  int64_t vocabulary = 0;
  int64_t tokens = 0;
  int64_t documents = 0;
  std::vector<Shard> shards;
  uint64_t hash = 0;

  std::string path_of(const Shard& shard) const;
};

/// Throws Error(kData) naming file, field and reason: names that lead out of the folder, sums that differ, a wrong
/// hash.
ShardIndex read_shard_index(const std::string& path);
/// Sets tokens, documents and hash from the shards, and writes `index.path` durably and read-only.
void write_shard_index(ShardIndex& index);

/// Throws unless header and size of a shard are what the index says (not its checksum, which costs reading it all).
void check_shard(const ShardIndex& index, const ShardIndex::Shard& shard, const TokenPart& part);
/// Reads every shard whole and compares its checksum. Throws Error(kData) naming the first that differs.
void verify_shards(const ShardIndex& index);

}  // namespace tsugi
