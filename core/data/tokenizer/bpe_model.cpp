#include "core/data/tokenizer/bpe_model.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <queue>

#include "core/data/utf8.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr size_t kCacheEntries = 1 << 16;
constexpr size_t kShort = 256;  // symbols; up to here they are merged by searching, more with a queue
constexpr size_t kKeptSymbols = 1 << 16;
constexpr uint8_t kPiece = 0;
constexpr uint8_t kPartOfPiece = 0x80;  // where ignore_merges treats pieces otherwise than their parts
constexpr size_t kAllCodePoints = 0x110000;
constexpr size_t kMostMerges = size_t{1} << 24;
constexpr uint32_t kNoKey = std::numeric_limits<uint32_t>::max();  // of no pair: the last place has none
constexpr uint32_t kTagBits = 0xFF000000;
constexpr uint32_t kEmpty = std::numeric_limits<uint32_t>::max();

uint64_t mix(uint64_t value) {
  value *= 0x9E3779B97F4A7C15u;
  return value ^ value >> 32;
}

uint64_t hash_of(int32_t left, int32_t right) {
  return mix(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right));
}

uint32_t tag_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32) & kTagBits; }

uint64_t load(const char* p, size_t bytes) {
  uint64_t value = 0;
  std::memcpy(&value, p, bytes);
  return value;
}

/// Of 1 to 30 bytes.
uint64_t hash_of(std::string_view piece) {
  const char* p = piece.data();
  const size_t n = piece.size();
  if (n >= 8) {
    uint64_t h = mix(load(p, 8) + n) ^ load(p + n - 8, 8);
    if (n > 16) h = mix(mix(h) ^ load(p + 8, 8)) ^ load(p + n - 16, 8);
    return mix(h);
  }
  if (n >= 4) return mix(mix(load(p, 4) + n) ^ load(p + n - 4, 4));
  const auto at = [&](size_t i) { return static_cast<uint64_t>(static_cast<uint8_t>(p[i])); };
  return mix(at(0) | at(n / 2) << 8 | at(n - 1) << 16 | n << 24);
}

}  // namespace

BpeCache::BpeCache() : entries_(kCacheEntries) {}

BpeModel::~BpeModel() = default;
BpeModel::BpeModel(BpeModel&&) noexcept = default;

BpeModel::BpeModel(std::vector<Token> tokens, std::vector<BpeMerge> merges, bool ignore_merges)
    : tokens_(std::move(tokens)), merges_(std::move(merges)), ignore_merges_(ignore_merges) {
  index();
  std::ranges::fill(bytes_, -1);
  for (const auto& [bytes, id] : ids_) {
    if (bytes.size() == 1) bytes_[static_cast<uint8_t>(bytes[0])] = id;
  }
  characters_ = WholeCharacters(
      merges_, bytes_, [this](int32_t id) -> std::string_view { return bytes(id); },
      [this](int32_t left, int32_t right) {
        const BpeMerge* const found = find_merge(left, right);
        return found == nullptr ? WholeCharacters::kNone : static_cast<uint32_t>(found - merges_.data());
      });
  pairs_ = CharacterPairs(merges_, [this](int32_t id) -> std::string_view { return bytes(id); });
}

BpeModel::BpeModel(std::vector<Token> tokens, std::vector<BpeMerge> merges, bool ignore_merges,
                   const std::array<int32_t, 256>& fallback)
    : tokens_(std::move(tokens)), merges_(std::move(merges)), ignore_merges_(ignore_merges) {
  index();
  std::ranges::copy(fallback, bytes_);
  by_code_point_.assign(kAllCodePoints, -1);
  for (const auto& [text, id] : ids_) {
    const CodePoint first = text.empty() ? CodePoint{} : code_point_at(text, 0);
    if (first.bytes > 0 && static_cast<size_t>(first.bytes) == text.size()) by_code_point_[first.value] = id;
  }
  pairs_ = CharacterPairs(merges_, [this](int32_t id) -> std::string_view { return bytes(id); });
}

void BpeModel::index() {
  ids_.reserve(tokens_.size());
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!tokens_[i].text) continue;
    CHECK(ids_.emplace(tokens_[i].bytes, static_cast<int32_t>(i)).second) << "token " << i << " stands twice";
  }
  CHECK_LT(merges_.size(), kMostMerges);
  size_t capacity = 16;
  while (capacity < merges_.size() * 2) capacity *= 2;
  slots_.assign(capacity, kEmpty);
  mask_ = capacity - 1;
  for (size_t rank = 0; rank < merges_.size(); ++rank) {
    const BpeMerge& merge = merges_[rank];
    CHECK(find_merge(merge.left, merge.right) == nullptr) << "two merges of " << merge.left << " and " << merge.right;
    const uint64_t hash = hash_of(merge.left, merge.right);
    uint64_t slot = hash & mask_;
    while (slots_[slot] != kEmpty) slot = (slot + 1) & mask_;
    slots_[slot] = tag_of(hash) | static_cast<uint32_t>(rank);
  }
}

bool BpeModel::complete() const {
  return std::ranges::all_of(bytes_, [](int32_t id) { return id >= 0; });
}

std::optional<int32_t> BpeModel::find(std::string_view bytes) const {
  const auto found = ids_.find(bytes);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

inline const BpeMerge* BpeModel::find_merge(int32_t left, int32_t right) const {
  const uint64_t hash = hash_of(left, right);
  const uint32_t tag = tag_of(hash);
  for (uint64_t at = hash & mask_;; at = (at + 1) & mask_) {
    const uint32_t slot = slots_[at];
    if (slot == kEmpty) return nullptr;
    if ((slot & kTagBits) != tag) continue;
    const BpeMerge* const merge = &merges_[slot & ~kTagBits];
    if (merge->left == left && merge->right == right) return merge;
  }
}

int32_t BpeModel::byte_token(char byte) const {
  const int32_t id = bytes_[static_cast<uint8_t>(byte)];
  if (id < 0) {
    throw Error(ExitCode::kData,
                "the byte " + std::to_string(static_cast<int>(static_cast<uint8_t>(byte))) +
                    " is not in the vocabulary of " + std::to_string(vocabulary()) + " tokens",
                "train a vocabulary with all 256 bytes in it");
  }
  return id;
}

inline bool BpeModel::recall(std::string_view bytes, uint8_t kind, const BpeCache& cache, std::vector<int32_t>& ids) {
  const BpeCache::Entry& entry = cache.entries_[hash_of(bytes) & (kCacheEntries - 1)];
  if (entry.size != (bytes.size() | kind) || std::memcmp(entry.bytes, bytes.data(), bytes.size()) != 0) return false;
  ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
  return true;
}

void BpeModel::remember(std::string_view bytes, uint8_t kind, std::span<const int32_t> ids, BpeCache& cache) {
  if (ids.size() > BpeCache::kIds) return;
  BpeCache::Entry& entry = cache.entries_[hash_of(bytes) & (kCacheEntries - 1)];
  entry.size = static_cast<uint8_t>(bytes.size() | kind);
  entry.count = static_cast<uint8_t>(ids.size());
  std::memcpy(entry.bytes, bytes.data(), bytes.size());
  std::ranges::copy(ids, entry.ids);
}

void BpeModel::encode(std::string_view piece, BpeCache& cache, std::vector<int32_t>& ids) const {
  if (piece.size() > BpeCache::kBytes) return encode_uncached(piece, cache, ids);
  if (recall(piece, kPiece, cache, ids)) return;
  const size_t before = ids.size();
  encode_uncached(piece, cache, ids);
  remember(piece, kPiece, std::span(ids).subspan(before), cache);
}

inline WholeCharacters::Found BpeModel::first_symbol(std::string_view piece, size_t at) const {
  const auto first = static_cast<uint8_t>(piece[at]);
  if (!by_code_point_.empty()) {
    const CodePoint character = code_point_at(piece, at);
    return {character, character.bytes > 0 ? by_code_point_[character.value] : -1};
  }
  return first < 0x80 ? WholeCharacters::Found{{first, 1}, bytes_[first]} : characters_.at(piece, at);
}

/// Whether no merge can ever join what is before piece[at] with what is there.
inline bool BpeModel::may_cut(std::string_view piece, size_t at, const WholeCharacters::Found& before,
                              const WholeCharacters::Found& found) const {
  if (before.character.bytes == 0 || found.character.bytes == 0) return false;
  if (pairs_.may_join(before.character.value, found.character.value)) return false;
  // Bytes of byte_fallback are tokens like others, of which merges may be made.
  if (!by_code_point_.empty()) return before.token >= 0 && found.token >= 0;
  return !characters_.parts_may_join(piece[at - 1], piece[at], before.token >= 0, found.token >= 0);
}

void BpeModel::encode_uncached(std::string_view piece, BpeCache& cache, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const auto found = ids_.find(piece); found != ids_.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  std::vector<int32_t>& symbols = cache.symbols_;
  symbols.clear();
  size_t part = 0;  // where it begins
  WholeCharacters::Found before;
  for (size_t at = 0; at < piece.size();) {
    const WholeCharacters::Found found = first_symbol(piece, at);
    if (at > part && may_cut(piece, at, before, found)) {
      encode_part(piece.substr(part, at - part), false, symbols, cache, ids);
      symbols.clear();
      part = at;
    }
    const size_t end = at + static_cast<size_t>(std::max(found.character.bytes, 1));
    if (found.token >= 0) {
      symbols.push_back(found.token);
      at = end;
    }
    while (at < end) symbols.push_back(byte_token(piece[at++]));
    before = found;
  }
  encode_part(piece.substr(part), part == 0, symbols, cache, ids);
  if (symbols.capacity() > kKeptSymbols) symbols = {};
}

void BpeModel::encode_part(std::string_view part, bool whole_piece, std::span<int32_t> symbols, BpeCache& cache,
                           std::vector<int32_t>& ids) const {
  if (symbols.size() == 1) {
    ids.push_back(symbols[0]);
    return;
  }
  if (symbols.size() == 2) {
    const BpeMerge* const found = find_merge(symbols[0], symbols[1]);
    if (found != nullptr) {
      ids.push_back(found->result);
    } else {
      ids.insert(ids.end(), symbols.begin(), symbols.end());
    }
    return;
  }
  const bool cached = !whole_piece && part.size() <= BpeCache::kBytes;
  const uint8_t kind = ignore_merges_ ? kPartOfPiece : kPiece;
  if (cached && recall(part, kind, cache, ids)) return;
  const size_t before = ids.size();
  if (symbols.size() <= kShort) {
    merge_short(symbols, ids);
  } else {
    merge_long(symbols, ids);
  }
  if (cached) remember(part, kind, std::span(ids).subspan(before), cache);
}

/// The pair of the lowest rank, the leftmost of them, until there is none. A pair is known by the place of its left
/// symbol, and the least of all `rank << 8 | place` is found eight at a time.
void BpeModel::merge_short(std::span<int32_t> symbols, std::vector<int32_t>& ids) const {
  constexpr size_t kLanes = 8;
  alignas(32) std::array<uint32_t, kShort> keys;
  std::array<uint16_t, kShort> next;
  std::array<uint16_t, kShort> before;
  const size_t n = symbols.size();
  const size_t scanned = (n + kLanes - 1) / kLanes * kLanes;
  const auto look = [&](size_t at) {
    const BpeMerge* const found = find_merge(symbols[at], symbols[next[at]]);
    keys[at] =
        found == nullptr ? kNoKey : static_cast<uint32_t>(found - merges_.data()) << 8 | static_cast<uint32_t>(at);
  };
  for (size_t i = 0; i < n; ++i) {
    next[i] = static_cast<uint16_t>(i + 1);
    before[i] = static_cast<uint16_t>(i - 1);
  }
  for (size_t i = n - 1; i < scanned; ++i) keys[i] = kNoKey;
  for (size_t i = 0; i + 1 < n; ++i) look(i);
  while (true) {
    uint32_t least = kNoKey;
#pragma omp simd reduction(min : least)
    for (size_t i = 0; i < scanned; ++i) least = std::min(least, keys[i]);
    if (least == kNoKey) break;
    const size_t left = least & 0xFF;
    const size_t right = next[left];
    const size_t after = next[right];
    symbols[left] = merges_[least >> 8].result;
    next[left] = static_cast<uint16_t>(after);
    keys[right] = kNoKey;
    if (after < n) {
      before[after] = static_cast<uint16_t>(left);
      look(left);
    } else {
      keys[left] = kNoKey;
    }
    if (left > 0) look(before[left]);
  }
  for (size_t i = 0; i < n; i = next[i]) ids.push_back(symbols[i]);
}

/// The same in O(n log n): pieces may be as long as the text.
void BpeModel::merge_long(std::span<const int32_t> first, std::vector<int32_t>& ids) const {
  struct Symbol {
    int32_t id;
    int64_t before;
    int64_t next;
  };
  struct Candidate {
    const BpeMerge* merge;  // the earlier in the list, the sooner
    int64_t at;
    bool operator<(const Candidate& other) const {  // the queue's top is the greatest
      return merge != other.merge ? merge > other.merge : at > other.at;
    }
  };
  constexpr int32_t kGone = -1;
  const auto n = static_cast<int64_t>(first.size());
  std::vector<Symbol> symbols;
  symbols.reserve(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) symbols.push_back({first[static_cast<size_t>(i)], i - 1, i + 1 < n ? i + 1 : -1});
  const auto symbol = [&symbols](int64_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  std::vector<Candidate> store;
  store.reserve(static_cast<size_t>(n));
  std::priority_queue<Candidate> queue({}, std::move(store));
  const auto offer = [&](int64_t at) {
    const int64_t next = symbol(at).next;
    if (next < 0) return;
    const BpeMerge* const found = find_merge(symbol(at).id, symbol(next).id);
    if (found != nullptr) queue.push({found, at});
  };
  for (int64_t i = 0; i + 1 < n; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbol(top.at);
    if (left.id != top.merge->left || left.next < 0 || symbol(left.next).id != top.merge->right)
      continue;  // it is out of date
    Symbol& right = symbol(left.next);
    left.id = top.merge->result;
    right.id = kGone;
    left.next = right.next;
    if (left.next >= 0) symbol(left.next).before = top.at;
    offer(top.at);
    if (left.before >= 0) offer(left.before);
  }
  for (int64_t i = 0; i >= 0; i = symbol(i).next) ids.push_back(symbol(i).id);
}

}  // namespace tsugi
