#include "core/data/tokenizer/bpe_model.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <queue>

#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr size_t kCacheEntries = 1 << 16;
constexpr size_t kShort = 48;  // pieces up to here are merged by searching, longer ones with a queue
constexpr uint64_t kEmpty = std::numeric_limits<uint64_t>::max();
constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();

uint64_t mix(uint64_t value) {
  value *= 0x9E3779B97F4A7C15u;
  return value ^ value >> 32;
}

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

BpeModel::BpeModel(std::vector<Token> tokens, const std::vector<BpeMerge>& merges, bool ignore_merges)
    : tokens_(std::move(tokens)), ignore_merges_(ignore_merges) {
  ids_.reserve(tokens_.size());
  std::ranges::fill(bytes_, -1);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!tokens_[i].text) continue;
    const std::string& bytes = tokens_[i].bytes;
    CHECK(ids_.emplace(bytes, static_cast<int32_t>(i)).second) << "token " << i << " stands twice";
    if (bytes.size() == 1) bytes_[static_cast<uint8_t>(bytes[0])] = static_cast<int32_t>(i);
  }
  size_t capacity = 16;
  while (capacity < merges.size() * 2) capacity *= 2;
  pairs_.assign(capacity, {kEmpty, 0, 0});
  mask_ = capacity - 1;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& merge = merges[rank];
    const uint64_t key = static_cast<uint64_t>(merge.left) << 32 | static_cast<uint32_t>(merge.right);
    uint64_t slot = mix(key) & mask_;
    while (pairs_[slot].key != kEmpty) {
      CHECK_NE(pairs_[slot].key, key) << "two merges of " << merge.left << " and " << merge.right;
      slot = (slot + 1) & mask_;
    }
    pairs_[slot] = {key, static_cast<int32_t>(rank), merge.result};
  }
}

bool BpeModel::complete() const {
  return std::ranges::all_of(bytes_, [](int32_t id) { return id >= 0; });
}

std::optional<int32_t> BpeModel::find(std::string_view bytes) const {
  const auto found = ids_.find(bytes);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

inline const BpeModel::Pair* BpeModel::pair(int32_t left, int32_t right) const {
  const uint64_t key = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  for (uint64_t slot = mix(key) & mask_;; slot = (slot + 1) & mask_) {
    if (pairs_[slot].key == key) return &pairs_[slot];
    if (pairs_[slot].key == kEmpty) return nullptr;
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

void BpeModel::encode(std::string_view piece, BpeCache& cache, std::vector<int32_t>& ids) const {
  if (piece.size() > BpeCache::kBytes) return encode_uncached(piece, ids);
  BpeCache::Entry& entry = cache.entries_[hash_of(piece) & (kCacheEntries - 1)];
  if (entry.size == piece.size() && std::memcmp(entry.bytes, piece.data(), piece.size()) == 0) {
    ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
    return;
  }
  const size_t before = ids.size();
  encode_uncached(piece, ids);
  const size_t count = ids.size() - before;
  if (count > BpeCache::kIds) return;
  entry.size = static_cast<uint8_t>(piece.size());
  entry.count = static_cast<uint8_t>(count);
  std::memcpy(entry.bytes, piece.data(), piece.size());
  std::copy(ids.end() - static_cast<std::ptrdiff_t>(count), ids.end(), entry.ids);
}

void BpeModel::encode_uncached(std::string_view piece, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const auto found = ids_.find(piece); found != ids_.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  if (piece.size() <= kShort) {
    merge_short(piece, ids);
  } else {
    merge_long(piece, ids);
  }
}

/// The pair of the lowest rank, the leftmost of them, until there is none.
void BpeModel::merge_short(std::string_view piece, std::vector<int32_t>& ids) const {
  std::array<int32_t, kShort> symbols;
  std::array<int32_t, kShort> ranks;    // of symbols i and i + 1
  std::array<int32_t, kShort> results;  // what they become
  size_t n = piece.size();
  for (size_t i = 0; i < n; ++i) symbols[i] = byte_token(piece[i]);
  const auto look = [&](size_t i) {
    const Pair* found = pair(symbols[i], symbols[i + 1]);
    ranks[i] = found == nullptr ? kNoRank : found->rank;
    results[i] = found == nullptr ? 0 : found->result;
  };
  for (size_t i = 0; i + 1 < n; ++i) look(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNoRank) break;
    symbols[best] = results[best];
    --n;
    for (size_t i = best + 1; i < n; ++i) {
      symbols[i] = symbols[i + 1];
      if (i + 1 < n) {
        ranks[i] = ranks[i + 1];
        results[i] = results[i + 1];
      }
    }
    if (best + 1 < n) look(best);
    if (best > 0) look(best - 1);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + static_cast<std::ptrdiff_t>(n));
}

/// The same in O(n log n): pieces may be as long as the text.
void BpeModel::merge_long(std::string_view piece, std::vector<int32_t>& ids) const {
  struct Symbol {
    int32_t id;
    int64_t before;
    int64_t next;
  };
  struct Candidate {
    int32_t rank;
    int32_t left;
    int32_t right;
    int64_t at;
    bool operator<(const Candidate& other) const {  // the queue's top is the greatest
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  constexpr int32_t kGone = -1;
  const auto n = static_cast<int64_t>(piece.size());
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (int64_t i = 0; i < n; ++i) {
    symbols.push_back({byte_token(piece[static_cast<size_t>(i)]), i - 1, i + 1 < n ? i + 1 : -1});
  }
  const auto symbol = [&symbols](int64_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  std::vector<Candidate> store;
  store.reserve(piece.size());
  std::priority_queue<Candidate> queue({}, std::move(store));
  const auto offer = [&](int64_t at) {
    const int64_t next = symbol(at).next;
    if (next < 0) return;
    const Pair* found = pair(symbol(at).id, symbol(next).id);
    if (found != nullptr) queue.push({found->rank, symbol(at).id, symbol(next).id, at});
  };
  for (int64_t i = 0; i + 1 < n; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbol(top.at);
    if (left.id != top.left || left.next < 0 || symbol(left.next).id != top.right) continue;  // it is out of date
    Symbol& right = symbol(left.next);
    left.id = pair(top.left, top.right)->result;
    right.id = kGone;
    left.next = right.next;
    if (left.next >= 0) symbol(left.next).before = top.at;
    offer(top.at);
    if (left.before >= 0) offer(left.before);
  }
  for (int64_t i = 0; i >= 0; i = symbol(i).next) ids.push_back(symbol(i).id);
}

}  // namespace tsugi
