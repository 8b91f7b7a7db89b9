#include "core/data/token_part.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <limits>

#include "core/data/crc32c.h"
#include "core/data/hash.h"
#include "core/data/token_format.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

template <class T>
T read_struct(std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() < sizeof(T)) {
    fail_token_file(path, "truncated: " + std::to_string(bytes.size()) + " bytes, its header alone has " +
                              std::to_string(sizeof(T)));
  }
  T result;
  std::memcpy(&result, bytes.data(), sizeof(T));
  return result;
}

/// Copies and returns the largest id as unsigned: what is negative is larger than any vocabulary.
template <class T>
uint32_t copy_tokens(const std::byte* from, std::span<int32_t> out) {
  const T* tokens = reinterpret_cast<const T*>(from);
  uint32_t largest = 0;
  int32_t* target = out.data();
  const size_t count = out.size();
#pragma omp simd reduction(max : largest)
  for (size_t i = 0; i < count; ++i) {
    const auto id = static_cast<uint32_t>(static_cast<int32_t>(tokens[i]));
    target[i] = static_cast<int32_t>(id);
    largest = id > largest ? id : largest;
  }
  return largest;
}
template <>
uint32_t copy_tokens<int64_t>(const std::byte* from, std::span<int32_t> out) {
  const auto* tokens = reinterpret_cast<const int64_t*>(from);
  uint32_t largest = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    // What does not fit is as wrong as the largest id that is none.
    const bool fits = tokens[i] >= 0 && tokens[i] <= std::numeric_limits<int32_t>::max();
    out[i] = fits ? static_cast<int32_t>(tokens[i]) : -1;
    largest = std::max(largest, static_cast<uint32_t>(out[i]));
  }
  return largest;
}

uint32_t copy_tokens(TokenType type, const std::byte* from, std::span<int32_t> out) {
  switch (type) {
    case TokenType::kU8:
      return copy_tokens<uint8_t>(from, out);
    case TokenType::kI8:
      return copy_tokens<int8_t>(from, out);
    case TokenType::kU16:
      return copy_tokens<uint16_t>(from, out);
    case TokenType::kI16:
      return copy_tokens<int16_t>(from, out);
    case TokenType::kU32:
    case TokenType::kI32:
      return copy_tokens<int32_t>(from, out);
    case TokenType::kI64:
      return copy_tokens<int64_t>(from, out);
  }
  return 0;
}

/// The id as the file has it, for messages.
std::string shown_token(TokenType type, const std::byte* from) {
  const auto load = [from](auto value) {
    std::memcpy(&value, from, sizeof(value));
    return std::to_string(value);
  };
  switch (type) {
    case TokenType::kU8:
      return load(uint8_t{});
    case TokenType::kI8:
      return load(int8_t{});
    case TokenType::kU16:
      return load(uint16_t{});
    case TokenType::kI16:
      return load(int16_t{});
    case TokenType::kU32:
      return load(uint32_t{});
    case TokenType::kI32:
      return load(int32_t{});
    case TokenType::kI64:
      return load(int64_t{});
  }
  return {};
}

/// Fills a part from the headers of tsugi's, llm.c's or no format.
struct Opener {
  TokenPart part;

  explicit Opener(const std::string& path) {
    part.path = path;
    part.file = MappedFile(path);
    if (part.file.bytes().empty()) fail_token_file(path, "the file is empty");
    if (starts_with(&kTokenMagic, sizeof(kTokenMagic))) {
      read_own_header();
    } else if (!read_llmc_header()) {
      read_headerless();
    }
  }

  bool starts_with(const void* magic, size_t size) const {
    return part.file.bytes().size() >= size && std::memcmp(part.file.bytes().data(), magic, size) == 0;
  }

  /// The header's count must be what the size of the file says.
  void set_tokens(uint64_t count) {
    if (count == 0) fail_token_file(part.path, "holds no tokens");
    const int64_t width = bytes_of(part.type);
    const auto body = static_cast<int64_t>(part.file.bytes().size()) - part.header_bytes;
    const auto present = static_cast<uint64_t>(std::max<int64_t>(body, 0) / width);
    if (count != present || body % width != 0) {
      fail_token_file(part.path,
                      "header says " + std::to_string(count) + " tokens of " + std::to_string(width) +
                          " bytes, the file has " + std::to_string(body) + " bytes of tokens",
                      count > present ? "the file is truncated or its header damaged" : "");
    }
    part.tokens = static_cast<int64_t>(count);
  }

  void read_own_header() {
    const auto header = read_struct<TokenHeader>(part.file.bytes(), part.path);
    if (header.version != kTokenVersion) {
      fail_token_file(part.path, "token file version " + std::to_string(header.version) + " is not known",
                      "this program reads version " + std::to_string(kTokenVersion) + "; prepare the text again");
    }
    if (header.bytes_per_token != 2 && header.bytes_per_token != 4) {
      fail_token_file(part.path,
                      "header says " + std::to_string(header.bytes_per_token) + " bytes per token; must be 2 or 4");
    }
    const uint64_t limit = header.bytes_per_token == 2 ? 65536 : static_cast<uint64_t>(kMaxVocabulary);
    if (header.vocabulary == 0 || header.vocabulary > limit) {
      fail_token_file(part.path, "header says a vocabulary of " + std::to_string(header.vocabulary) +
                                     "; must be in [1, " + std::to_string(limit) + "]");
    }
    part.header_bytes = sizeof(TokenHeader);
    part.type = header.bytes_per_token == 2 ? TokenType::kU16 : TokenType::kU32;
    part.vocabulary = static_cast<int64_t>(header.vocabulary);
    set_tokens(header.tokens);
    read_documents(header);
  }

  void read_documents(const TokenHeader& header) {
    const std::string name = part.path + ".documents";
    std::error_code error;
    if (!std::filesystem::exists(name, error)) return;
    const MappedFile map(name);
    const std::span<const std::byte> bytes = map.bytes();
    const auto found = read_struct<DocumentHeader>(bytes, name);
    if (found.magic != kDocumentMagic) fail_token_file(name, "not a list of documents (wrong first 8 bytes)");
    if (found.version != kDocumentVersion) {
      fail_token_file(name, "version " + std::to_string(found.version) + " is not known");
    }
    const size_t body = bytes.size() - sizeof(DocumentHeader);
    if (body % sizeof(int64_t) != 0 || found.documents != body / sizeof(int64_t)) {
      fail_token_file(name, "header says " + std::to_string(found.documents) + " documents, the file has " +
                                std::to_string(body) + " bytes of 8 each");
    }
    if (crc32c(bytes.subspan(kDocumentChecksumBegin)) != found.checksum)
      fail_token_file(name, "checksum differs: damaged");
    if (found.documents != header.documents || found.checksum != header.documents_checksum) {
      fail_token_file(name, "does not belong to " + part.path,
                      "one of the two was replaced alone; prepare the text again");
    }
    part.documents.resize(found.documents);
    if (body > 0) std::memcpy(part.documents.data(), bytes.data() + sizeof(DocumentHeader), body);
    for (size_t i = 0; i < part.documents.size(); ++i) {
      const int64_t least = i == 0 ? 0 : part.documents[i - 1] + 1;
      const int64_t most = i == 0 ? 0 : part.tokens - 1;
      if (part.documents[i] < least || part.documents[i] > most) {
        fail_token_file(name, "document " + std::to_string(i) + " starts at token " +
                                  std::to_string(part.documents[i]) + "; must be in [" + std::to_string(least) + ", " +
                                  std::to_string(most) + "]");
      }
    }
  }

  /// llm.c, dev/data/data_common.py: 256 int32 {magic, version, tokens, 0 …}, then uint16 (GPT-2) or uint32 (Llama 3).
  bool read_llmc_header() {
    constexpr int32_t kGpt2 = 20240520;
    constexpr int32_t kLlama3 = 20240801;
    const bool gpt2 = starts_with(&kGpt2, sizeof(kGpt2));
    if (!gpt2 && !starts_with(&kLlama3, sizeof(kLlama3))) return false;
    const auto header = read_struct<std::array<int32_t, 256>>(part.file.bytes(), part.path);
    const int32_t version = gpt2 ? 1 : 7;
    if (header[1] != version) {
      fail_token_file(part.path, "llm.c token file with magic " + std::to_string(header[0]) + " and version " +
                                     std::to_string(header[1]) + "; known is version " + std::to_string(version));
    }
    if (header[2] < 0) fail_token_file(part.path, "header says " + std::to_string(header[2]) + " tokens");
    part.header_bytes = sizeof(header);
    part.type = gpt2 ? TokenType::kU16 : TokenType::kU32;
    set_tokens(static_cast<uint64_t>(header[2]));
    return true;
  }

  /// nanoGPT, data/*/prepare.py: uint16 and nothing else. Any file would do, so the name must say it.
  void read_headerless() {
    if (!part.path.ends_with(".bin")) {
      fail_token_file(
          part.path, "not a token file (unknown first bytes)",
          "make one with `tsugi prepare`; headerless uint16 tokens (nanoGPT) are read from names ending in .bin");
    }
    const size_t size = part.file.bytes().size();
    if (size % 2 != 0)
      fail_token_file(part.path, "headerless uint16 tokens in an odd number of bytes: " + std::to_string(size));
    set_tokens(size / 2);
  }
};

/// Of the size and the whole content of a mapped file; of a large one, which must not be read before a run begins, of
/// so many blocks at equal distances, the first and the last among them.
uint64_t sampled_hash(std::span<const std::byte> bytes) {
  constexpr size_t kWhole = size_t{64} << 20;
  constexpr size_t kBlock = 4096, kBlocks = 1024;
  Hash64 hash(bytes.size());
  if (bytes.size() <= kWhole) {
    hash.update(bytes);
    return hash.value();
  }
  // Without the megabytes that are read ahead around every page that is touched. (Only advice: errors say nothing.)
  void* const mapping = const_cast<std::byte*>(bytes.data());
  ::madvise(mapping, bytes.size(), MADV_RANDOM);
  for (size_t i = 0; i < kBlocks; ++i) {
    hash.update(bytes.subspan((bytes.size() - kBlock) / (kBlocks - 1) * i, kBlock));
  }
  hash.update(bytes.last(kBlock));
  ::madvise(mapping, bytes.size(), MADV_NORMAL);
  return hash.value();
}

}  // namespace

void fail_token_file(const std::string& path, const std::string& reason, const std::string& hint) {
  throw Error(ExitCode::kData, path + ": " + reason, hint);
}

int64_t bytes_of(TokenType type) {
  switch (type) {
    case TokenType::kU8:
    case TokenType::kI8:
      return 1;
    case TokenType::kU16:
    case TokenType::kI16:
      return 2;
    case TokenType::kU32:
    case TokenType::kI32:
      return 4;
    case TokenType::kI64:
      return 8;
  }
  return 0;
}

void TokenPart::read(int64_t offset, int64_t limit, std::span<int32_t> out) const {
  const int64_t width = bytes_of(type);
  const std::byte* data = file.bytes().data() + header_bytes + offset * width;
  if (static_cast<int64_t>(copy_tokens(type, data, out)) < limit) return;
  for (size_t i = 0; i < out.size(); ++i) {
    if (static_cast<int64_t>(static_cast<uint32_t>(out[i])) < limit) continue;
    const auto index = static_cast<int64_t>(i);
    fail_token_file(path,
                    "token " + std::to_string(offset + index) + " has id " + shown_token(type, data + index * width) +
                        ", not below the vocabulary of " + std::to_string(limit),
                    "the file was made with another tokenizer, or the model's vocabulary is too small");
  }
}

TokenPart open_token_part(const std::string& path) {
  const std::filesystem::path index = std::filesystem::path(path).replace_extension(".idx");
  const bool megatron = path.ends_with(".idx") || (path.ends_with(".bin") && is_megatron_index(index.string()));
  TokenPart part = megatron ? open_megatron_part(index.string()) : Opener(path).part;
  part.fingerprint = sampled_hash(part.file.bytes());
  return part;
}

}  // namespace tsugi
