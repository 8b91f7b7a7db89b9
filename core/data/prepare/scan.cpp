#include "core/data/prepare/scan.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>

#include "core/data/file.h"
#include "core/data/prepare/pipeline.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr size_t kRecordsAtOnce = 1 << 15;
constexpr size_t kCodePointEnd = 0x110000;

class BlockScanner {
 public:
  explicit BlockScanner(const ScanJob& job) : job_(job), reader_(*job.block.files, job.blocks), out_(job.record_file) {}

  Scan run() {
    HelperRanks* helpers = job_.workers.helpers;
    if (helpers != nullptr) begin_scan(*helpers, job_.block);
    run_in_order<TextBlock, ScannedBlock>(
        job_.workers.count(), job_.workers.limit(),
        [&]() -> std::optional<TextBlock> {
          TextBlock block;
          BlockStart start{reader_.state(), 0};
          if (!reader_.next(block)) return std::nullopt;
          scan_.blocks.push_back(start);
          return block;
        },
        [&](TextBlock block, int worker) {
          return job_.workers.here(worker) ? scan_block(job_.block, std::move(block)) : ask_to_scan(*helpers, block);
        },
        [&](const ScannedBlock& block) { consume(block); });
    flush();
    out_.commit();
    collect_code_points();
    return std::move(scan_);
  }

 private:
  void consume(const ScannedBlock& block) {
    scan_.blocks[consumed_++].document = scan_.documents;
    scan_.empty += block.empty;
    if (!block.code_points.empty()) occurs_.resize(kCodePointEnd);
    for (const char32_t point : block.code_points) occurs_[point] = true;
    for (const ScannedDocument& one : block.documents) {
      if (one.starts && one.ends) {
        add(one.record, one.file);
        continue;
      }
      if (one.starts) {
        hash_ = DocumentHash();
        tokens_ = 0;
      }
      hash_.update(std::string_view(block.text).substr(one.begin, one.length));
      tokens_ += one.record.tokens;
      if (!one.ends) continue;
      DocumentRecord record = hash_.record();
      record.tokens = tokens_;
      add(record, one.file);
    }
    if (job_.on_progress) job_.on_progress(reader_.consumed(), scan_.documents);
  }

  void add(const DocumentRecord& record, uint32_t file) {
    records_.push_back(record);
    if (records_.size() == kRecordsAtOnce) flush();
    ++scan_.documents;
    if (file < job_.validation_files) ++scan_.validation_documents;
  }

  void flush() {
    out_.write(std::as_bytes(std::span(records_)));
    records_.clear();
  }

  void collect_code_points() {
    for (size_t point = 0; point < occurs_.size(); ++point) {
      if (occurs_[point]) scan_.code_points.push_back(static_cast<char32_t>(point));
    }
  }

  const ScanJob& job_;
  BlockReader reader_;
  DurableFile out_;
  std::vector<bool> occurs_;  ///< by code point
  Scan scan_;
  size_t consumed_ = 0;
  std::vector<DocumentRecord> records_;
  DocumentHash hash_;
  int64_t tokens_ = 0;
};

/// A set of pairs of hashes: open addressing, linear probing.
class HashSet {
 public:
  explicit HashSet(int64_t expected)
      : slots_(std::bit_ceil(static_cast<size_t>(expected) * 4 / 3 + 1024)), mask_(slots_.size() - 1) {}

  bool insert(uint64_t first, uint64_t second) {
    if (first == 0 && second == 0) second = 1;  // zeros are free slots
    CHECK_LT(++size_, slots_.size());
    size_t slot = first & mask_;
    while (slots_[slot].first != 0 || slots_[slot].second != 0) {
      if (slots_[slot].first == first && slots_[slot].second == second) {
        --size_;
        return false;
      }
      slot = (slot + 1) & mask_;
    }
    slots_[slot] = {first, second};
    return true;
  }

 private:
  struct Key {
    uint64_t first = 0;
    uint64_t second = 0;
  };
  std::vector<Key> slots_;
  size_t mask_;
  size_t size_ = 0;
};

void find_duplicates(const Scan& scan, const std::string& record_file, int64_t memory, Decisions& decisions) {
  decisions.kept.assign(static_cast<size_t>(scan.documents), true);
  const int64_t at_once = std::max<int64_t>(memory / 25, 1000);
  const int64_t rounds = std::max<int64_t>(1, (scan.documents + at_once - 1) / at_once);
  for (int64_t round = 0; round < rounds; ++round) {
    HashSet seen(scan.documents / rounds + scan.documents / rounds / 8);
    RecordReader records(record_file, 0);
    for (int64_t i = 0; i < scan.documents; ++i) {
      const DocumentRecord record = records.next();
      if (static_cast<int64_t>((record.second >> 32) % static_cast<uint64_t>(rounds)) != round) continue;
      if (seen.insert(record.hash, record.second)) continue;
      decisions.kept[static_cast<size_t>(i)] = false;
      ++decisions.duplicates;
    }
  }
}

}  // namespace

Scan scan_documents(const ScanJob& job) { return BlockScanner(job).run(); }

Decisions decide(const Scan& scan, const std::string& record_file, const PrepareOptions& options, int64_t memory) {
  Decisions decisions;
  find_duplicates(scan, record_file, memory, decisions);
  decisions.validation.assign(static_cast<size_t>(scan.documents), false);
  const bool apart = !options.validation_inputs.empty();
  const bool tail = !apart && options.split == PrepareOptions::Split::kTail;
  int64_t total = 0;
  RecordReader records(record_file, 0);
  for (int64_t i = 0; i < scan.documents; ++i) {
    const DocumentRecord record = records.next();
    const auto index = static_cast<size_t>(i);
    if (!decisions.kept[index]) continue;
    total += record.tokens;
    decisions.validation[index] =
        apart ? i < scan.validation_documents
              : !tail && static_cast<double>(record.hash >> 11) * 0x1p-53 < options.validation_fraction;
  }
  if (tail) {
    // nanoGPT: train = data[: int(n * 0.9)].
    auto train = static_cast<int64_t>(static_cast<double>(total) * (1.0 - options.validation_fraction));
    RecordReader again(record_file, 0);
    for (int64_t i = 0; i < scan.documents; ++i) {
      const int64_t tokens = again.next().tokens;
      const auto index = static_cast<size_t>(i);
      if (!decisions.kept[index]) continue;
      if (decisions.tail_document >= 0 || train < tokens) {
        if (decisions.tail_document < 0) {
          decisions.tail_document = i;
          decisions.tail_tokens = train;
        }
        decisions.validation[index] = true;
      } else {
        train -= tokens;
      }
    }
  }
  for (size_t i = 0; i < decisions.kept.size(); ++i) {
    if (!decisions.kept[i]) continue;
    ++(decisions.validation[i] ? decisions.validation_documents : decisions.train_documents);
  }
  return decisions;
}

RecordReader::RecordReader(const std::string& path, int64_t first) : path_(path), stream_(InputStream::open(path)) {
  stream_->skip_to(first * static_cast<int64_t>(sizeof(DocumentRecord)));
}

DocumentRecord RecordReader::next() {
  if (position_ == buffer_.size()) {
    buffer_.resize(kRecordsAtOnce);
    const size_t got =
        stream_->read({reinterpret_cast<char*>(buffer_.data()), buffer_.size() * sizeof(DocumentRecord)});
    buffer_.resize(got / sizeof(DocumentRecord));
    position_ = 0;
    if (buffer_.empty()) throw Error(ExitCode::kData, path_ + ": ends too early: the work file was changed");
  }
  return buffer_[position_++];
}

}  // namespace tsugi
