// The second pass of `prepare`: encodes what is kept and writes it.
#pragma once

#include <functional>

#include "core/data/prepare/encode_block.h"
#include "core/data/prepare/progress.h"
#include "core/data/prepare/scan.h"

namespace tsugi {

struct EncodeJob {
  EncodeBlockJob block;
  BlockOptions blocks;
  const Scan* scan = nullptr;
  const Decisions* decisions = nullptr;
  int64_t shard_tokens = 0;
  int64_t sync_blocks = 256;
  PieceWorkers workers;
  std::function<void(int64_t consumed, int64_t documents, int64_t tokens, int64_t resumed)> on_progress;
};

/// Goes on behind what is in the work folder; returns when all shards are finished there. Throws Error(kData) naming
/// file and place of text that cannot be encoded, or of a file that is not the one that was scanned.
EncodeState encode_documents(const EncodeJob& job, const WorkFolder& work);

}  // namespace tsugi
