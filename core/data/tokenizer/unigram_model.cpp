#include "core/data/tokenizer/unigram_model.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <span>

#include "core/data/tokenizer/byte_fallback.h"
#include "core/data/utf8.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr double kUnknownPenalty = 10.0;
// Words are shorter; their places need no memory from the heap.
constexpr size_t kShortPiece = 63;

}  // namespace

UnigramModel::UnigramModel(std::vector<Token> tokens, std::optional<int32_t> unknown, bool byte_fallback)
    : tokens_(std::move(tokens)), unknown_(unknown) {
  double rarest = std::numeric_limits<double>::infinity();
  for (const Token& token : tokens_) rarest = std::min(rarest, token.score);
  unknown_score_ = rarest - kUnknownPenalty;
  std::vector<int32_t> order(tokens_.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](int32_t id) { return std::string_view(name(id)); });
  // A node for each beginning of a name: by length, so that children come after their parents, and side by side.
  struct Range {
    size_t low;  // of `order`
    size_t high;
    size_t depth;
  };
  std::vector<Range> ranges{{0, order.size(), 0}};
  nodes_.emplace_back();
  for (size_t n = 0; n < nodes_.size(); ++n) {
    auto [low, high, depth] = ranges[n];
    if (low < high && name(order[low]).size() == depth) nodes_[n].id = order[low++];
    nodes_[n].first_child = static_cast<uint32_t>(nodes_.size());
    while (low < high) {
      const auto label = static_cast<uint8_t>(name(order[low])[depth]);
      const size_t first = low;
      while (low < high && static_cast<uint8_t>(name(order[low])[depth]) == label) ++low;
      ++nodes_[n].children;
      nodes_.push_back({.label = label});
      ranges.push_back({first, low, depth + 1});
    }
  }
  for (int byte = 0; byte < 256 && byte_fallback; ++byte)
    bytes_.push_back(find(fallback_name(static_cast<uint8_t>(byte))));
}

const UnigramModel::Node* UnigramModel::child(const Node& node, uint8_t label) const {
  const std::span children(nodes_.data() + node.first_child, node.children);
  const auto found = std::ranges::lower_bound(children, label, {}, &Node::label);
  return found != children.end() && found->label == label ? &*found : nullptr;
}

int32_t UnigramModel::find(std::string_view name) const {
  const Node* node = nodes_.data();
  for (const char c : name) {
    node = child(*node, static_cast<uint8_t>(c));
    if (node == nullptr) return -1;
  }
  return node->id;
}

void UnigramModel::refuse(std::string_view piece, size_t at) const {
  const auto bytes = static_cast<size_t>(std::max(code_point_at(piece, at).bytes, 1));
  throw Error(ExitCode::kData, "no token covers \"" + std::string(piece.substr(at, bytes)) + "\" at byte " +
                                   std::to_string(at) + " of \"" + std::string(piece.substr(0, 80)) +
                                   "\", and the model has no unknown token (unk_id)");
}

void UnigramModel::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  std::array<Arrival, kShortPiece + 1> few;
  std::vector<Arrival> many;
  if (piece.size() > kShortPiece) many.resize(piece.size() + 1);
  const std::span<Arrival> places =
      piece.size() > kShortPiece ? std::span(many) : std::span(few).first(piece.size() + 1);
  for (size_t begin = 0; begin < piece.size();) {
    const double before = places[begin].score;
    const auto arrive = [&](size_t end, double score, int32_t id) {
      Arrival& place = places[end];
      if (place.from < 0 || score > place.score) place = {score, id, static_cast<int64_t>(begin)};
    };
    const size_t next = begin + static_cast<size_t>(code_point_at(piece, begin).bytes);
    bool covered = false;
    const Node* node = nodes_.data();
    for (size_t end = begin; end < piece.size();) {
      node = child(*node, static_cast<uint8_t>(piece[end++]));
      if (node == nullptr) break;
      if (node->id < 0) continue;
      arrive(end, before + tokens_[static_cast<size_t>(node->id)].score, node->id);
      covered = covered || end == next;
    }
    if (!covered) {
      if (!unknown_) refuse(piece, begin);
      arrive(next, before + unknown_score_, *unknown_);
    }
    begin = next;
  }
  // Backwards, and turned round in the end. Unknown characters side by side are one.
  const size_t first = ids.size();
  std::vector<std::pair<size_t, size_t>> runs;  // of unknown characters
  for (size_t end = piece.size(); end > 0;) {
    const auto begin = static_cast<size_t>(places[end].from);
    const int32_t id = places[end].id;
    if (unknown_ && id == *unknown_) {
      if (!runs.empty() && ids.back() == -1 && runs.back().first == end) {
        runs.back().first = begin;
      } else {
        ids.push_back(-1);
        runs.emplace_back(begin, end);
      }
    } else {
      ids.push_back(id);
    }
    end = begin;
  }
  std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end());
  if (runs.empty()) return;
  const std::vector<int32_t> whole(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end());
  ids.resize(first);
  for (const int32_t id : whole) {
    if (id >= 0) {
      ids.push_back(id);
      continue;
    }
    encode_unknown(piece.substr(runs.back().first, runs.back().second - runs.back().first), ids);
    runs.pop_back();
  }
}

void UnigramModel::encode_unknown(std::string_view bytes, std::vector<int32_t>& ids) const {
  // A run may read as a token's name: the unknown token's own, for one.
  if (const int32_t id = find(bytes); id >= 0) return ids.push_back(id);
  const auto lacks = [&](char c) { return bytes_[static_cast<uint8_t>(c)] < 0; };
  if (!bytes_.empty() && std::ranges::none_of(bytes, lacks)) {
    for (const char c : bytes) ids.push_back(bytes_[static_cast<uint8_t>(c)]);
    return;
  }
  if (!unknown_) refuse(bytes, 0);
  ids.push_back(*unknown_);
}

}  // namespace tsugi
