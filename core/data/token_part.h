// One file of tokens in whichever of the known formats, checked and mapped. What TokenFile is made of.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/data/file.h"

namespace tsugi {

/// How an id lies in a file; little-endian.
enum class TokenType { kU8, kI8, kU16, kI16, kU32, kI32, kI64 };
int64_t bytes_of(TokenType type);

struct TokenPart {
  std::string path;
  MappedFile file;
  int64_t header_bytes = 0;
  TokenType type = TokenType::kU16;
  int64_t tokens = 0;  ///< at least 1
  int64_t vocabulary = 0;
  std::vector<int64_t> documents;
  uint64_t fingerprint = 0;

  /// Copies tokens [offset, offset + out.size()), which lie in the file. Throws Error(kData) naming file, offset and id
  /// when an id is not in [0, vocabulary).
  void read(int64_t offset, int64_t vocabulary, std::span<int32_t> out) const;
};

/// Throws Error(kData) naming file and reason; see TokenFile::open for the formats.
TokenPart open_token_part(const std::string& path);

/// Throws Error(kData) "PATH: REASON".
[[noreturn]] void fail_token_file(const std::string& path, const std::string& reason, const std::string& hint = {});

/// Megatron-LM's pair NAME.idx and NAME.bin (megatron/core/datasets/indexed_dataset.py):
///   0 "MMIDIDX\0\0"  9 u64 version (1)  17 u8 type  18 u64 sequences S  26 u64 document bounds D  34 i32 lengths[S]
///   i64 pointers[S] (bytes into NAME.bin)  i64 bounds[D] (sequences; 0 … S, ascending)  optionally i8 modes[S].
/// Sequences must lie one after another, as its builder writes them, and fill NAME.bin; all modes must be 0 (text).
/// Documents without tokens leave no trace.
bool is_megatron_index(const std::string& path);
TokenPart open_megatron_part(const std::string& index_path);

}  // namespace tsugi
