// Byte-pair encoding of one piece of text: Sennrich et al. 2016, arXiv:1508.07909, on bytes as in GPT-2.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/data/tokenizer/character_pairs.h"
#include "core/data/tokenizer/whole_characters.h"

namespace tsugi {

/// What encode() remembers of pieces that it met, and where it works; one thread at a time. About 4 MiB.
class BpeCache;

class BpeModel {
 public:
  struct Token {
    std::string bytes;
    bool text = true;  ///< false: not reached from text, like <|endoftext|>
  };
  /// `tokens` by id; no two text tokens are the same bytes, and some of the 256 single bytes may be missing. No two
  /// merges have the same pair. With `ignore_merges` a piece that is a token is that token, even where the merges would
  /// not lead to it.
  BpeModel(std::vector<Token> tokens, std::vector<BpeMerge> merges, bool ignore_merges);
  /// Merging starts from characters instead of bytes; one that is no token is the tokens of its bytes, `fallback`.
  BpeModel(std::vector<Token> tokens, std::vector<BpeMerge> merges, bool ignore_merges,
           const std::array<int32_t, 256>& fallback);
  ~BpeModel();
  BpeModel(BpeModel&&) noexcept;

  int64_t vocabulary() const { return static_cast<int64_t>(tokens_.size()); }
  const std::string& bytes(int32_t id) const { return tokens_[static_cast<size_t>(id)].bytes; }
  /// Whether each of the 256 bytes is a token.
  bool complete() const;
  /// The id of these bytes, if they are a text token.
  std::optional<int32_t> find(std::string_view bytes) const;

  /// Appends the ids of a piece, which must not be empty. Throws Error(kData) when a byte has no token.
  void encode(std::string_view piece, BpeCache& cache, std::vector<int32_t>& ids) const;

 private:
  void index();
  const BpeMerge* find_merge(int32_t left, int32_t right) const;
  /// Appends what remember() kept of these bytes, if it did.
  static bool recall(std::string_view bytes, uint8_t kind, const BpeCache& cache, std::vector<int32_t>& ids);
  static void remember(std::string_view bytes, uint8_t kind, std::span<const int32_t> ids, BpeCache& cache);
  void encode_uncached(std::string_view piece, BpeCache& cache, std::vector<int32_t>& ids) const;
  bool may_cut(std::string_view piece, size_t at, const WholeCharacters::Found& before,
               const WholeCharacters::Found& found) const;
  WholeCharacters::Found first_symbol(std::string_view piece, size_t at) const;
  /// What merging makes of `symbols`, which are the bytes `part` of a piece and are changed.
  void encode_part(std::string_view part, bool whole_piece, std::span<int32_t> symbols, BpeCache& cache,
                   std::vector<int32_t>& ids) const;
  void merge_short(std::span<int32_t> symbols, std::vector<int32_t>& ids) const;
  void merge_long(std::span<const int32_t> first, std::vector<int32_t>& ids) const;
  int32_t byte_token(char byte) const;

  std::vector<Token> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;
  int32_t bytes_[256];
  std::vector<BpeMerge> merges_;  // by rank
  WholeCharacters characters_;
  CharacterPairs pairs_;
  std::vector<int32_t> by_code_point_;  // the token of a character, or -1; empty where merging starts from bytes
  /// Open addressing, a power of two: 8 bits of the pair's hash and 24 of its rank. Most questions are for pairs that
  /// are not there; four bytes a slot, almost always enough to say so, keep the table in the second-level cache.
  std::vector<uint32_t> slots_;
  uint64_t mask_ = 0;
  bool ignore_merges_;
};

class BpeCache {
 public:
  BpeCache();

 private:
  friend class BpeModel;
  static constexpr size_t kBytes = 30;
  static constexpr size_t kIds = 8;
  /// One cache line.
  struct alignas(64) Entry {
    uint8_t size;  // of the piece, and its kind; 0: empty
    uint8_t count;
    char bytes[kBytes];
    int32_t ids[kIds];
  };
  std::vector<Entry> entries_;
  std::vector<int32_t> symbols_;
};

}  // namespace tsugi
