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

/// A read-only token file, memory-mapped. Reads tsugi's own format, llm.c's (magic 20240520 and 20240801) and, from a
/// name ending in ".bin", nanoGPT's headerless uint16. Sizes are checked against the file before use; more than 2³²
/// tokens are fine.
class TokenFile {
 public:
  /// Throws Error(kData) naming file and reason (empty, truncated, unknown version …), Error(kInputOutput) when the
  /// file cannot be opened. A missing `path`.documents is no error; one that does not belong to the file is.
  static TokenFile open(const std::string& path);

  const std::string& path() const;
  int64_t tokens() const;
  /// 0 when the format does not say.
  int64_t vocabulary() const;
  /// Start of every document, ascending, the first being 0; empty when unknown.
  std::span<const int64_t> documents() const;
  /// A hash of the size and of both ends of the file, equal on all ranks that read the same file.
  uint64_t fingerprint() const;

  /// Copies tokens [offset, offset + out.size()), which must lie in the file (checked). Throws Error(kData) naming
  /// file, offset and id when an id is not below `vocabulary`.
  void read(int64_t offset, int64_t vocabulary, std::span<int32_t> out) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// Writes tsugi's format: `path` and `path`.documents, each to a temporary name, fsynced and renamed by finish().
/// Without finish() nothing is left behind.
class TokenFileWriter {
 public:
  /// uint16 when vocabulary <= 65536, else uint32; ids are below 2³¹.
  TokenFileWriter(const std::string& path, int64_t vocabulary);
  ~TokenFileWriter();
  /// Ids are in [0, vocabulary) (checked). An empty document leaves no trace.
  void add_document(std::span<const int32_t> tokens);
  /// Throws Error(kData) when there was no token.
  void finish();

  int64_t tokens() const;
  int64_t documents() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tsugi
