// Token files: a small header, then uint16 or uint32 tokens; the starts of the documents in a file beside it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace tsugi {

/// A read-only token file, memory-mapped. Reads tsugi's own format, llm.c's (magic 20240520 and 20240801) and nanoGPT's
/// headerless uint16. Sizes are checked against the file before use; more than 2³² tokens are fine.
class TokenFile {
 public:
  /// Throws Error(kData) naming file and reason (empty, truncated, unknown version …), Error(kInputOutput) when the
  /// file cannot be opened.
  static TokenFile open(const std::string& path);

  const std::string& path() const;
  int64_t tokens() const;
  /// 0 when the format does not say.
  int64_t vocabulary() const;
  /// Start of every document, ascending, the first being 0; empty when unknown.
  std::span<const int64_t> documents() const;
  /// A hash of header and size, equal on all ranks that read the same file.
  uint64_t fingerprint() const;

  /// Copies tokens [offset, offset + out.size()). Throws Error(kData) naming file, offset and id when an id is not
  /// below `vocabulary`.
  void read(int64_t offset, int64_t vocabulary, std::span<int32_t> out) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// Writes tsugi's format: `path` and `path`.documents, each to a temporary name, fsynced and renamed by finish().
class TokenFileWriter {
 public:
  /// uint16 when vocabulary <= 65536, else uint32.
  TokenFileWriter(const std::string& path, int64_t vocabulary);
  ~TokenFileWriter();
  void add_document(std::span<const int32_t> tokens);
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tsugi
