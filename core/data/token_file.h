// Token files: a small header, then uint16 or uint32 tokens; the starts of the documents in a file beside it.
//
// All integers little-endian.
//   NAME.bin            0  "TSUGITOK"   8  u32 version (1)   12  u32 bytes per token (2 or 4)   16  u64 vocabulary
//                      24  u64 tokens  32  u64 documents     40  u32 checksum of NAME.bin.documents
//                      44  zero        64  tokens
//   NAME.bin.documents  0  "TSUGIDOC"   8  u32 version (1)   12  u32 checksum: CRC32C of all from byte 16
//                      16  u64 documents                     24  i64 first token of every document, ascending, first 0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace tsugi {

/// Read-only tokens, memory-mapped: one file, or several as one space of tokens. Sizes are checked against the files
/// before use; more than 2³² tokens are fine.
class TokenFile {
 public:
  /// `path` is one of
  ///   a file in tsugi's own format or llm.c's (magic 20240520 and 20240801);
  ///   NAME.bin beside a Megatron-LM index NAME.idx, or that index (core/data/token_part.h);
  ///   another name ending in ".bin": nanoGPT's headerless uint16;
  ///   NAME.index.json, written by `tsugi prepare --shard-tokens` (core/data/token_shards.h);
  ///   a pattern (`*`, `?`, `[…]`) that matches several of these .bin files, or a folder of them: in the order of their
  ///   names. A folder with a file that looks held back ("val", "test") is an error.
  /// Throws Error(kData) naming file and reason (empty, truncated, unknown version …), Error(kInputOutput) when a
  /// file cannot be opened. A missing `path`.documents is no error; one that does not belong to the file is.
  static TokenFile open(const std::string& path);

  const std::string& path() const;
  int64_t tokens() const;
  /// 0 when the format does not say.
  int64_t vocabulary() const;
  /// Start of every document, ascending, the first being 0; empty when a file does not say. 8 bytes of memory each.
  std::span<const int64_t> documents() const;
  /// A hash of the sizes and the content of all files (of one beyond 64 MiB: of 1025 blocks of 4 KiB at equal
  /// distances) and of the index, if there is one, which covers the checksums of its shards. Equal on all ranks that
  /// read the same files.
  uint64_t fingerprint() const;

  /// Copies tokens [offset, offset + out.size()), which must lie in the file (checked). Throws Error(kData) naming
  /// file, offset and id when an id is not below `vocabulary`.
  void read(int64_t offset, int64_t vocabulary, std::span<int32_t> out) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// How far a writer came; enough to go on in another process.
struct TokenFileState {
  int64_t tokens = 0;
  int64_t documents = 0;
  uint32_t token_checksum = 0;  ///< CRC32C of the tokens in the file
  uint32_t start_checksum = 0;  ///< and of the starts of the documents
};

/// Writes tsugi's format: `path` and `path`.documents, each to a temporary name, fsynced and renamed by finish().
/// Memory: 2 MiB, whatever the size. Without finish() nothing is left behind.
class TokenFileWriter {
 public:
  /// uint16 when vocabulary <= 65536, else uint32; ids are below 2³¹.
  TokenFileWriter(const std::string& path, int64_t vocabulary);
  /// One that survives its process: writes to `path`.partial and `path`.documents.partial, left there without finish(),
  /// and goes on behind what `state` (of sync(), or none) says they hold. Throws Error(kData) when they do not.
  TokenFileWriter(const std::string& path, int64_t vocabulary, const TokenFileState& state);
  ~TokenFileWriter();
  /// Ids are in [0, vocabulary) (checked). An empty document leaves no trace.
  void add_document(std::span<const int32_t> tokens);
  /// More tokens of the document that was added last.
  void extend_document(std::span<const int32_t> tokens);
  /// Everything up to here survives a crash.
  TokenFileState sync();
  /// Returns the CRC32C of the whole file `path`. Throws Error(kData) when there was no token.
  uint32_t finish();

  int64_t tokens() const;
  int64_t documents() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tsugi
