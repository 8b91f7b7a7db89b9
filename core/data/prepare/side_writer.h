// One side (training or validation) of what `prepare` writes: one token file, or shards.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/data/prepare.h"
#include "core/data/token_file.h"
#include "core/data/token_shards.h"

namespace tsugi {

/// How far a side came; enough to go on in another process.
struct SideState {
  std::vector<ShardIndex::Shard> shards;  ///< finished
  TokenFileState current;                 ///< of the shard behind them
  PrepareSummary::Side written;
};

class SideWriter {
 public:
  /// Writes NAME.bin below `folder`, or NAME-00000.bin and so on with at most `shard_tokens` (> 0) tokens, or one
  /// document; goes on behind `state`. Throws Error(kData) when the files there are not those of `state`.
  SideWriter(const std::string& folder, const std::string& name, int64_t vocabulary, int64_t shard_tokens,
             SideState state);

  /// The next tokens start a document that will have `tokens` in all.
  void start_document(int64_t tokens);
  void append(std::span<const int32_t> tokens, int64_t text_bytes);

  const PrepareSummary::Side& written() const { return state_.written; }
  /// Everything up to here survives a crash.
  const SideState& sync();
  /// Ends the last shard.
  const SideState& finish();

 private:
  std::string file_name() const;
  void open();
  void close_shard();

  std::string folder_;
  std::string name_;
  int64_t vocabulary_;
  int64_t shard_tokens_;
  SideState state_;
  std::unique_ptr<TokenFileWriter> writer_;
  bool starting_ = false;
};

}  // namespace tsugi
