// The bytes of token files, for their reader and writer.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace tsugi {

static_assert(std::endian::native == std::endian::little, "token files are mapped as they are");

inline constexpr std::array<char, 8> kTokenMagic = {'T', 'S', 'U', 'G', 'I', 'T', 'O', 'K'};
inline constexpr std::array<char, 8> kDocumentMagic = {'T', 'S', 'U', 'G', 'I', 'D', 'O', 'C'};
inline constexpr uint32_t kTokenVersion = 1;
inline constexpr uint32_t kDocumentVersion = 1;
inline constexpr int64_t kMaxVocabulary = int64_t{1} << 31;  // ids are int32

struct TokenHeader {
  std::array<char, 8> magic = kTokenMagic;
  uint32_t version = kTokenVersion;
  uint32_t bytes_per_token = 2;
  uint64_t vocabulary = 0;
  uint64_t tokens = 0;
  uint64_t documents = 0;
  uint32_t documents_checksum = 0;
  std::array<uint32_t, 5> reserved{};
};
static_assert(sizeof(TokenHeader) == 64);

struct DocumentHeader {
  std::array<char, 8> magic = kDocumentMagic;
  uint32_t version = kDocumentVersion;
  uint32_t checksum = 0;
  uint64_t documents = 0;
};
static_assert(sizeof(DocumentHeader) == 24);
inline constexpr int64_t kDocumentChecksumBegin = 16;

}  // namespace tsugi
