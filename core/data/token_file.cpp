#include "core/data/token_file.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "core/data/crc32c.h"
#include "core/data/file.h"
#include "core/data/hash.h"
#include "core/data/token_format.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& reason, const std::string& hint = {}) {
  throw Error(ExitCode::kData, path + ": " + reason, hint);
}

template <class T>
T read_struct(std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() < sizeof(T)) {
    fail(path,
         "truncated: " + std::to_string(bytes.size()) + " bytes, its header alone has " + std::to_string(sizeof(T)));
  }
  T result;
  std::memcpy(&result, bytes.data(), sizeof(T));
  return result;
}

/// Copies and returns the largest id as unsigned.
template <class T>
uint32_t copy_tokens(const T* tokens, std::span<int32_t> out) {
  uint32_t largest = 0;
  int32_t* target = out.data();
  const size_t count = out.size();
#pragma omp simd reduction(max : largest)
  for (size_t i = 0; i < count; ++i) {
    const uint32_t id = tokens[i];
    target[i] = static_cast<int32_t>(id);
    largest = id > largest ? id : largest;
  }
  return largest;
}

}  // namespace

struct TokenFile::Impl {
  std::string path;
  MappedFile file;
  int64_t header_bytes = 0;
  int64_t bytes_per_token = 2;
  int64_t tokens = 0;
  int64_t vocabulary = 0;
  std::vector<int64_t> documents;
  uint64_t fingerprint = 0;

  explicit Impl(const std::string& name) : path(name), file(name) {
    if (file.bytes().empty()) fail(path, "the file is empty");
    if (starts_with(&kTokenMagic, sizeof(kTokenMagic))) {
      read_own_header();
    } else if (!read_llmc_header()) {
      read_headerless();
    }
    constexpr size_t kEnd = 4096;
    const std::span<const std::byte> bytes = file.bytes();
    fingerprint = hash64(bytes.first(std::min(kEnd, bytes.size())), bytes.size());
    fingerprint = hash64(bytes.last(std::min(kEnd, bytes.size())), fingerprint);
  }

  bool starts_with(const void* magic, size_t size) const {
    return file.bytes().size() >= size && std::memcmp(file.bytes().data(), magic, size) == 0;
  }

  /// The header's count must be what the size of the file says.
  void set_tokens(uint64_t count) {
    if (count == 0) fail(path, "holds no tokens");
    const auto body = static_cast<int64_t>(file.bytes().size()) - header_bytes;
    const auto present = static_cast<uint64_t>(std::max<int64_t>(body, 0) / bytes_per_token);
    if (count != present || body % bytes_per_token != 0) {
      fail(path,
           "header says " + std::to_string(count) + " tokens of " + std::to_string(bytes_per_token) +
               " bytes, the file has " + std::to_string(body) + " bytes of tokens",
           count > present ? "the file is truncated or its header damaged" : "");
    }
    tokens = static_cast<int64_t>(count);
  }

  void read_own_header() {
    const auto header = read_struct<TokenHeader>(file.bytes(), path);
    if (header.version != kTokenVersion) {
      fail(path, "token file version " + std::to_string(header.version) + " is not known",
           "this program reads version " + std::to_string(kTokenVersion) + "; prepare the text again");
    }
    if (header.bytes_per_token != 2 && header.bytes_per_token != 4) {
      fail(path, "header says " + std::to_string(header.bytes_per_token) + " bytes per token; must be 2 or 4");
    }
    const uint64_t limit = header.bytes_per_token == 2 ? 65536 : static_cast<uint64_t>(kMaxVocabulary);
    if (header.vocabulary == 0 || header.vocabulary > limit) {
      fail(path, "header says a vocabulary of " + std::to_string(header.vocabulary) + "; must be in [1, " +
                     std::to_string(limit) + "]");
    }
    header_bytes = sizeof(TokenHeader);
    bytes_per_token = header.bytes_per_token;
    vocabulary = static_cast<int64_t>(header.vocabulary);
    set_tokens(header.tokens);
    read_documents(header);
  }

  void read_documents(const TokenHeader& header) {
    const std::string name = path + ".documents";
    std::error_code error;
    if (!std::filesystem::exists(name, error)) return;
    const MappedFile map(name);
    const std::span<const std::byte> bytes = map.bytes();
    const auto found = read_struct<DocumentHeader>(bytes, name);
    if (found.magic != kDocumentMagic) fail(name, "not a list of documents (wrong first 8 bytes)");
    if (found.version != kDocumentVersion) {
      fail(name, "version " + std::to_string(found.version) + " is not known");
    }
    const size_t body = bytes.size() - sizeof(DocumentHeader);
    if (body % sizeof(int64_t) != 0 || found.documents != body / sizeof(int64_t)) {
      fail(name, "header says " + std::to_string(found.documents) + " documents, the file has " + std::to_string(body) +
                     " bytes of 8 each");
    }
    if (crc32c(bytes.subspan(kDocumentChecksumBegin)) != found.checksum) fail(name, "checksum differs: damaged");
    if (found.documents != header.documents || found.checksum != header.documents_checksum) {
      fail(name, "does not belong to " + path, "one of the two was replaced alone; prepare the text again");
    }
    documents.resize(found.documents);
    if (body > 0) std::memcpy(documents.data(), bytes.data() + sizeof(DocumentHeader), body);
    for (size_t i = 0; i < documents.size(); ++i) {
      const int64_t least = i == 0 ? 0 : documents[i - 1] + 1;
      const int64_t most = i == 0 ? 0 : tokens - 1;
      if (documents[i] < least || documents[i] > most) {
        fail(name, "document " + std::to_string(i) + " starts at token " + std::to_string(documents[i]) +
                       "; must be in [" + std::to_string(least) + ", " + std::to_string(most) + "]");
      }
    }
  }

  /// llm.c, dev/data/data_common.py: 256 int32 {magic, version, tokens, 0 …}, then uint16 (GPT-2) or uint32 (Llama 3).
  bool read_llmc_header() {
    constexpr int32_t kGpt2 = 20240520;
    constexpr int32_t kLlama3 = 20240801;
    const bool gpt2 = starts_with(&kGpt2, sizeof(kGpt2));
    if (!gpt2 && !starts_with(&kLlama3, sizeof(kLlama3))) return false;
    const auto header = read_struct<std::array<int32_t, 256>>(file.bytes(), path);
    const int32_t version = gpt2 ? 1 : 7;
    if (header[1] != version) {
      fail(path, "llm.c token file with magic " + std::to_string(header[0]) + " and version " +
                     std::to_string(header[1]) + "; known is version " + std::to_string(version));
    }
    if (header[2] < 0) fail(path, "header says " + std::to_string(header[2]) + " tokens");
    header_bytes = sizeof(header);
    bytes_per_token = gpt2 ? 2 : 4;
    set_tokens(static_cast<uint64_t>(header[2]));
    return true;
  }

  /// nanoGPT, data/*/prepare.py: uint16 and nothing else. Any file would do, so the name must say it.
  void read_headerless() {
    if (!path.ends_with(".bin")) {
      fail(path, "not a token file (unknown first bytes)",
           "make one with `tsugi prepare`; headerless uint16 tokens (nanoGPT) are read from names ending in .bin");
    }
    const size_t size = file.bytes().size();
    if (size % 2 != 0) fail(path, "headerless uint16 tokens in an odd number of bytes: " + std::to_string(size));
    set_tokens(size / 2);
  }
};

TokenFile TokenFile::open(const std::string& path) {
  TokenFile result;
  result.impl_ = std::make_shared<const Impl>(path);
  return result;
}

const std::string& TokenFile::path() const { return impl_->path; }
int64_t TokenFile::tokens() const { return impl_->tokens; }
int64_t TokenFile::vocabulary() const { return impl_->vocabulary; }
std::span<const int64_t> TokenFile::documents() const { return impl_->documents; }
uint64_t TokenFile::fingerprint() const { return impl_->fingerprint; }

void TokenFile::read(int64_t offset, int64_t vocabulary, std::span<int32_t> out) const {
  const auto count = static_cast<int64_t>(out.size());
  CHECK(offset >= 0 && count <= impl_->tokens && offset <= impl_->tokens - count)
      << "tokens [" << offset << ", +" << count << ") of " << impl_->tokens << " in " << impl_->path;
  const std::byte* data = impl_->file.bytes().data() + impl_->header_bytes + offset * impl_->bytes_per_token;
  const uint32_t largest = impl_->bytes_per_token == 2 ? copy_tokens(reinterpret_cast<const uint16_t*>(data), out)
                                                       : copy_tokens(reinterpret_cast<const uint32_t*>(data), out);
  if (static_cast<int64_t>(largest) < vocabulary) return;
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t id = static_cast<uint32_t>(out[i]);
    if (id < vocabulary) continue;
    fail(impl_->path,
         "token " + std::to_string(offset + static_cast<int64_t>(i)) + " has id " + std::to_string(id) +
             ", not below the vocabulary of " + std::to_string(vocabulary),
         "the file was made with another tokenizer, or the model's vocabulary is too small");
  }
}

}  // namespace tsugi
