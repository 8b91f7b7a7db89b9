#include "core/data/tokenizer/wordpiece_model.h"

#include <algorithm>

#include "core/data/utf8.h"

namespace tsugi {
namespace {

constexpr uint64_t kHashStart = 0xcbf29ce484222325;

/// FNV-1a, which can be taken of longer and longer beginnings of a word.
uint64_t hash_more(uint64_t hash, std::string_view bytes) {
  for (const char byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  return hash;
}

/// The slot where a hash is looked for first: its better mixed half.
size_t slot_of(uint64_t hash, size_t mask) { return static_cast<size_t>(hash >> 32 ^ hash) & mask; }

}  // namespace

WordPieceModel::WordPieceModel(std::vector<std::string> names, Options options)
    : names_(std::move(names)), options_(std::move(options)) {
  size_t slots = 16;
  while (slots < names_.size() * 2) slots *= 2;
  slots_.assign(slots, -1);
  for (size_t id = 0; id < names_.size(); ++id) {
    longest_name_ = std::max(longest_name_, names_[id].size());
    size_t slot = slot_of(hash_more(kHashStart, names_[id]), slots - 1);
    while (slots_[slot] >= 0) slot = (slot + 1) & (slots - 1);
    slots_[slot] = static_cast<int32_t>(id);
  }
}

int32_t WordPieceModel::find(std::string_view begin, std::string_view rest, uint64_t hash) const {
  for (size_t slot = slot_of(hash, slots_.size() - 1); slots_[slot] >= 0; slot = (slot + 1) & (slots_.size() - 1)) {
    const std::string_view found = names_[static_cast<size_t>(slots_[slot])];
    if (found.size() == begin.size() + rest.size() && found.starts_with(begin) && found.ends_with(rest)) {
      return slots_[slot];
    }
  }
  return -1;
}

int32_t WordPieceModel::find(std::string_view name) const { return find({}, name, hash_more(kHashStart, name)); }

void WordPieceModel::encode(std::string_view word, std::vector<int32_t>& ids) const {
  int64_t characters = 0;
  for (size_t at = 0; at < word.size(); ++characters) {
    const CodePoint point = code_point_at(word, at);
    if (point.bytes == 0) return ids.push_back(options_.unknown);
    at += static_cast<size_t>(point.bytes);
  }
  if (characters > options_.longest_word) return ids.push_back(options_.unknown);
  const size_t before = ids.size();
  std::vector<std::pair<size_t, uint64_t>> ends;  // of the word's beginnings that may be tokens, with their hashes
  for (size_t begin = 0; begin < word.size();) {
    const std::string_view prefix = begin > 0 ? std::string_view(options_.prefix) : std::string_view();
    ends.clear();
    uint64_t hash = hash_more(kHashStart, prefix);
    for (size_t end = begin; end < word.size() && prefix.size() + end - begin < longest_name_;) {
      const auto next = end + static_cast<size_t>(code_point_at(word, end).bytes);
      hash = hash_more(hash, word.substr(end, next - end));
      ends.emplace_back(end = next, hash);
    }
    int32_t found = -1;
    for (; !ends.empty() && found < 0; ends.pop_back()) {
      found = find(prefix, word.substr(begin, ends.back().first - begin), ends.back().second);
      if (found >= 0) begin = ends.back().first;
    }
    if (found < 0) {
      ids.resize(before);
      return ids.push_back(options_.unknown);
    }
    ids.push_back(found);
  }
}

}  // namespace tsugi
