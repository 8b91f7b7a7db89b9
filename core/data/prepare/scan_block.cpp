#include "core/data/prepare/scan_block.h"

#include <bit>
#include <memory>

#include "core/data/prepare/block_wire.h"
#include "core/data/prepare/documents.h"
#include "core/data/utf8.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// Counts code points and notes which there are.
class CodePointCounter {
 public:
  int64_t count(const DocumentPiece& piece, const std::vector<InputFile>& files) {
    occurs_.resize(0x110000 / 64);
    int64_t count = 0;
    for (size_t offset = 0; offset < piece.text.size(); ++count) {
      const CodePoint point = code_point_at(piece.text, offset);
      if (point.bytes == 0) {
        // Text of JSON is valid, so this is text that lies in the file as it is.
        throw Error(ExitCode::kData,
                    files[piece.file].path + ": byte " + std::to_string(piece.place + static_cast<int64_t>(offset)) +
                        ": not valid UTF-8",
                    "convert the file to UTF-8, or use the vocabulary \"bytes\"");
      }
      occurs_[point.value / 64] |= uint64_t{1} << (point.value % 64);
      offset += static_cast<size_t>(point.bytes);
    }
    return count;
  }
  std::vector<char32_t> occurring() const {
    std::vector<char32_t> points;
    for (size_t i = 0; i < occurs_.size(); ++i) {
      for (uint64_t bits = occurs_[i]; bits != 0; bits &= bits - 1) {
        points.push_back(static_cast<char32_t>(64 * i + static_cast<size_t>(std::countr_zero(bits))));
      }
    }
    return points;
  }

 private:
  std::vector<uint64_t> occurs_;  ///< one bit per code point
};

int64_t count_tokens(const ScanBlockJob& job, const DocumentPiece& piece, CodePointCounter& code_points) {
  switch (job.counting) {
    case Counting::kNot:
      return 0;
    case Counting::kBytes:
      return static_cast<int64_t>(piece.text.size());
    case Counting::kCodePoints:
      return code_points.count(piece, *job.files);
    case Counting::kEncode:
      try {
        return static_cast<int64_t>(job.tokenizer->encode(piece.text, kDocumentText).size());
      } catch (const Error& error) {
        throw Error(error.code(), place_of(*job.files, piece) + ": " + error.what(), error.hint());
      }
  }
  return 0;
}

}  // namespace

void DocumentHash::update(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  first_.update(bytes);
  second_.update(bytes);
}

DocumentRecord DocumentHash::record() const { return {first_.value(), second_.value(), 0}; }

ScannedBlock scan_block(const ScanBlockJob& job, TextBlock block) {
  ScannedBlock result;
  CodePointCounter code_points;
  bool parts = false;
  for_each_document(block, *job.files, job.field, job.max_line, [&](const DocumentPiece& piece) {
    if (piece.empty()) {
      ++result.empty;
      return;
    }
    ScannedDocument one;
    one.file = piece.file;
    one.starts = piece.starts;
    one.ends = piece.ends;
    if (piece.starts && piece.ends) {
      DocumentHash hash;
      hash.update(piece.text);
      one.record = hash.record();
    } else {
      parts = true;
      one.begin = static_cast<size_t>(piece.text.data() - block.text.data());
      one.length = piece.text.size();
    }
    one.record.tokens = count_tokens(job, piece, code_points) + (piece.ends ? job.end_tokens : 0);
    result.documents.push_back(one);
  });
  result.code_points = code_points.occurring();
  if (parts) result.text = std::move(block.text);
  return result;
}

void begin_scan(HelperRanks& helpers, const ScanBlockJob& job) {
  WireWriter setup;
  setup.put(PrepareWork::kScan);
  put_files(setup, *job.files);
  setup.put_text(job.field);
  setup.put(job.max_line);
  setup.put(job.counting);
  setup.put_text(job.tokenizer == nullptr ? "" : job.tokenizer->to_json());
  setup.put(job.end_tokens);
  helpers.begin(setup.take());
}

ScannedBlock ask_to_scan(HelperRanks& helpers, const TextBlock& block) {
  WireWriter request;
  put_block(request, block);
  const std::string answer = helpers.ask(request.take());
  WireReader reader(answer);
  ScannedBlock result;
  result.documents = reader.list<ScannedDocument>();
  result.text = reader.text();
  result.empty = reader.get<int64_t>();
  result.code_points = reader.list<char32_t>();
  return result;
}

RequestWork scan_work(std::string_view setup) {
  struct Owned {
    std::vector<InputFile> files;
    std::unique_ptr<Tokenizer> tokenizer;
    ScanBlockJob job;
  };
  const auto owned = std::make_shared<Owned>();
  WireReader reader(setup);
  reader.get<PrepareWork>();
  owned->files = files_of(reader);
  owned->job.files = &owned->files;
  owned->job.field = reader.text();
  owned->job.max_line = reader.get<int64_t>();
  owned->job.counting = reader.get<Counting>();
  if (const std::string_view json = reader.text(); !json.empty()) {
    owned->tokenizer = parse_tokenizer(std::string(json), kTokenizerOfRank0);
    owned->job.tokenizer = owned->tokenizer.get();
  }
  owned->job.end_tokens = reader.get<int64_t>();
  return [owned](std::string_view request) {
    WireReader parts(request);
    const ScannedBlock block = scan_block(owned->job, block_of(parts));
    WireWriter answer;
    answer.put_list(block.documents);
    answer.put_text(block.text);
    answer.put(block.empty);
    answer.put_list(block.code_points);
    return answer.take();
  };
}

}  // namespace tsugi
