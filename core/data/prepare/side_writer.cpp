#include "core/data/prepare/side_writer.h"

#include <algorithm>
#include <filesystem>

#include "core/data/crc32c.h"
#include "core/data/input_stream.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;

void check_finished(const std::string& path, const ShardIndex::Shard& shard) {
  const auto stream = InputStream::open(path);
  std::vector<char> piece(1 << 20);
  uint32_t checksum = 0;
  int64_t bytes = 0;
  for (;;) {
    const size_t got = stream->read(piece);
    checksum = crc32c(std::as_bytes(std::span(piece).first(got)), checksum);
    bytes += static_cast<int64_t>(got);
    if (got < piece.size()) break;
  }
  if (bytes == shard.bytes && checksum == shard.crc32c) return;
  throw Error(ExitCode::kData, path + ": its checksum or size is not the one that was noted");
}

/// A shard that was finished after the state was noted goes back to being unfinished.
void reopen(const std::string& path) {
  if (fs::exists(path) && !fs::exists(path + ".partial")) fs::rename(path, path + ".partial");
}

}  // namespace

SideWriter::SideWriter(const std::string& folder, const std::string& name, int64_t vocabulary, int64_t shard_tokens,
                       SideState state)
    : folder_(folder), name_(name), vocabulary_(vocabulary), shard_tokens_(shard_tokens), state_(std::move(state)) {
  for (const ShardIndex::Shard& shard : state_.shards) {
    check_finished((fs::path(folder_) / shard.file).string(), shard);
  }
  open();
}

std::string SideWriter::file_name() const {
  if (shard_tokens_ == 0) return name_ + ".bin";
  std::string number = std::to_string(state_.shards.size());
  number.insert(0, number.size() < 5 ? 5 - number.size() : 0, '0');
  return name_ + "-" + number + ".bin";
}

void SideWriter::open() {
  const std::string path = (fs::path(folder_) / file_name()).string();
  if (state_.current.tokens > 0) {
    reopen(path);
    reopen(path + ".documents");
  }
  writer_ = std::make_unique<TokenFileWriter>(path, vocabulary_, state_.current);
}

void SideWriter::close_shard() {
  ShardIndex::Shard shard;
  shard.file = file_name();
  shard.tokens = writer_->tokens();
  shard.documents = writer_->documents();
  shard.crc32c = writer_->finish();
  shard.bytes = static_cast<int64_t>(fs::file_size(fs::path(folder_) / shard.file));
  writer_.reset();
  state_.shards.push_back(std::move(shard));
  state_.current = {};
}

void SideWriter::start_document(int64_t tokens) {
  if (shard_tokens_ > 0 && writer_->tokens() > 0 && writer_->tokens() + tokens > shard_tokens_) {
    close_shard();
    open();
  }
  starting_ = true;
}

void SideWriter::append(std::span<const int32_t> tokens, int64_t text_bytes) {
  state_.written.bytes += text_bytes;
  if (tokens.empty()) return;
  state_.written.tokens += static_cast<int64_t>(tokens.size());
  if (!starting_) {
    writer_->extend_document(tokens);
    return;
  }
  writer_->add_document(tokens);
  ++state_.written.documents;
  starting_ = false;
}

const SideState& SideWriter::sync() {
  state_.current = writer_->sync();
  return state_;
}

const SideState& SideWriter::finish() {
  close_shard();
  return state_;
}

}  // namespace tsugi
