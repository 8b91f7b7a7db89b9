#include "core/data/tokenizer/piece_counter.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>
#include <list>

#include "core/data/hash.h"
#include "core/data/tokenizer/normalizer.h"
#include "core/data/utf8.h"

namespace tsugi {
namespace {

constexpr size_t kTaskBytes = 256 << 10;  // a document is cut into parts of about this size
constexpr size_t kRoundBytes = 64 << 20;  // after so much text the workers' tables are merged

}  // namespace

std::string_view PieceTable::piece(size_t index) const {
  return std::string_view(bytes_).substr(entries_[index].offset, entries_[index].size);
}

void PieceTable::add(std::string_view piece, uint64_t hash, int64_t count) {
  if (entries_.size() * 2 >= slots_.size()) grow();
  const size_t mask = slots_.size() - 1;
  size_t slot = hash & mask;
  for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
    Entry& entry = entries_[slots_[slot] - 1];
    if (entry.hash == hash && this->piece(slots_[slot] - 1) == piece) {
      entry.count += count;
      return;
    }
  }
  CHECK_LT(entries_.size(), std::numeric_limits<uint32_t>::max() - 1);
  entries_.push_back({hash, bytes_.size(), count, static_cast<uint32_t>(piece.size())});
  bytes_ += piece;
  slots_[slot] = static_cast<uint32_t>(entries_.size());
}

void PieceTable::grow() {
  slots_.assign(std::max<size_t>(slots_.size() * 2, 64), 0);
  const size_t mask = slots_.size() - 1;
  for (size_t i = 0; i < entries_.size(); ++i) {
    size_t slot = entries_[i].hash & mask;
    while (slots_[slot] != 0) slot = (slot + 1) & mask;
    slots_[slot] = static_cast<uint32_t>(i + 1);
  }
}

void PieceTable::clear() {
  entries_.clear();
  bytes_.clear();
  std::ranges::fill(slots_, 0);
}

PieceCounter::PieceCounter(ThreadPool& pool, const Options& options)
    : pool_(pool), options_(options), workers_(static_cast<size_t>(pool.threads())) {
  if (options_.bert) words_.emplace(parse_json(R"({"type": "BertPreTokenizer"})", "words"), false);
}

void PieceCounter::add(std::span<const std::string_view> documents) {
  std::vector<std::string_view> tasks;
  size_t round = 0;
  const auto work = [&] {
    pool_.for_each(static_cast<int64_t>(tasks.size()), [&](int64_t index, int worker) {
      count(tasks[static_cast<size_t>(index)], workers_[static_cast<size_t>(worker)]);
    });
    merge_workers();
    tasks.clear();
    round = 0;
  };
  for (std::string_view rest : documents) {
    bytes_ += static_cast<int64_t>(rest.size());
    while (!rest.empty()) {
      size_t size = rest.size();
      // Where there is no place to cut for long, the next one is looked for further on.
      for (size_t most = kTaskBytes; most < rest.size(); most *= 2) {
        const size_t cut = safe_cut(rest, most);
        if (cut == 0) continue;
        size = cut;
        break;
      }
      tasks.push_back(rest.substr(0, size));
      rest.remove_prefix(size);
      round += size;
      if (round >= kRoundBytes) work();
    }
  }
  work();
}

void PieceCounter::count(std::string_view text, Worker& worker) const {
  while (!text.empty()) {
    const size_t valid = valid_utf8_prefix(text);
    if (words_) {
      std::list<std::string> store;
      const std::string normal = options_.bert->apply(text.substr(0, valid));
      for (const std::string_view word : words_->split(normal, true, store)) {
        const uint64_t hash = hash64_of(word);
        worker.shards[hash >> 58].add(word, hash, 1);
      }
    } else if (options_.nfc) {
      count_valid(nfc(text.substr(0, valid)), worker);
    } else {
      count_valid(text.substr(0, valid), worker);
    }
    text.remove_prefix(valid);
    while (!text.empty() && code_point_at(text, 0).bytes == 0) {
      text.remove_prefix(1);
      ++worker.invalid;
    }
  }
}

void PieceCounter::count_valid(std::string_view text, Worker& worker) const {
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const char* const next = piece_end(options_.pattern, p, end);
    const std::string_view piece(p, static_cast<size_t>(next - p));
    const uint64_t hash = hash64_of(piece);
    worker.shards[hash >> 58].add(piece, hash, 1);
    p = next;
  }
}

void PieceCounter::merge_workers() {
  static_assert(kShards == 64, "a shard is the upper six bits of a hash");
  pool_.for_each(static_cast<int64_t>(kShards), [&](int64_t index, int /*worker*/) {
    const auto shard = static_cast<size_t>(index);
    for (Worker& worker : workers_) {
      PieceTable& table = worker.shards[shard];
      for (size_t i = 0; i < table.size(); ++i) shards_[shard].add(table.piece(i), table.hash(i), table.count(i));
      table.clear();
    }
  });
  for (Worker& worker : workers_) {
    invalid_ += worker.invalid;
    worker.invalid = 0;
  }
  if (different() > options_.most_pieces) forget_rare();
}

int64_t PieceCounter::different() const {
  int64_t total = 0;
  for (const PieceTable& shard : shards_) total += static_cast<int64_t>(shard.size());
  return total;
}

void PieceCounter::forget_rare() {
  // The least count above which no more than half are left.
  std::vector<int64_t> with_count(1 << 16);  // the last: that and more
  for (const PieceTable& shard : shards_) {
    for (size_t i = 0; i < shard.size(); ++i)
      ++with_count[std::min<size_t>(static_cast<size_t>(shard.count(i)), with_count.size() - 1)];
  }
  int64_t left = different();
  int64_t least = 0;
  while (left > options_.most_pieces / 2 && least + 1 < static_cast<int64_t>(with_count.size())) {
    left -= with_count[static_cast<size_t>(least++)];
  }
  for (PieceTable& shard : shards_) {
    PieceTable kept;
    for (size_t i = 0; i < shard.size(); ++i) {
      if (shard.count(i) >= least) kept.add(shard.piece(i), shard.hash(i), shard.count(i));
    }
    forgotten_ += static_cast<int64_t>(shard.size() - kept.size());
    shard = std::move(kept);
  }
  forgotten_count_ = std::max(forgotten_count_, least - 1);
}

std::vector<std::pair<std::string_view, int64_t>> PieceCounter::sorted() const {
  std::vector<std::pair<std::string_view, int64_t>> all;
  all.reserve(static_cast<size_t>(different()));
  for (const PieceTable& shard : shards_) {
    for (size_t i = 0; i < shard.size(); ++i) all.emplace_back(shard.piece(i), shard.count(i));
  }
  std::ranges::sort(all);
  return all;
}

}  // namespace tsugi
