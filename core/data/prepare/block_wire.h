// Blocks of text on their way from rank 0 to those that help.
#pragma once

#include <string>
#include <vector>

#include "core/data/prepare/blocks.h"
#include "core/data/prepare/wire.h"

namespace tsugi {

/// With which pass the description of a job begins.
enum class PrepareWork : uint8_t { kScan, kEncode };

/// What errors call a tokenizer that came as text.
inline constexpr const char* kTokenizerOfRank0 = "the tokenizer of rank 0";

/// Only what errors and readers of documents need: the files themselves are rank 0's.
inline void put_files(WireWriter& writer, const std::vector<InputFile>& files) {
  writer.put(static_cast<uint64_t>(files.size()));
  for (const InputFile& file : files) {
    writer.put_text(file.path);
    writer.put(file.lines);
  }
}
inline std::vector<InputFile> files_of(WireReader& reader) {
  std::vector<InputFile> files(reader.get<uint64_t>());
  for (InputFile& file : files) {
    file.path = reader.text();
    file.lines = reader.get<bool>();
  }
  return files;
}

inline void put_block(WireWriter& writer, const TextBlock& block) {
  writer.put_text(block.text);
  writer.put_list(block.pieces);
  writer.put(block.first_document);
}
inline TextBlock block_of(WireReader& reader) {
  TextBlock block;
  block.text = reader.text();
  block.pieces = reader.list<TextPiece>();
  block.first_document = reader.get<int64_t>();
  return block;
}

}  // namespace tsugi
