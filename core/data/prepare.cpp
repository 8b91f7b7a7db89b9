#include "core/data/prepare.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "core/data/file.h"
#include "core/data/hash.h"
#include "core/data/prepare/block_wire.h"
#include "core/data/prepare/encode.h"
#include "core/data/prepare/helpers.h"
#include "core/data/prepare/inputs.h"
#include "core/data/prepare/progress.h"
#include "core/data/prepare/scan.h"
#include "core/data/tokenizer/tokenizer.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Split = PrepareOptions::Split;

std::string dump(const Json& json, int indent) { return json.dump(indent, ' ', false, Json::error_handler_t::replace); }

/// The token files of a former `prepare`, of either layout.
bool is_output_name(const std::string& name) {
  for (const std::string side : {"train", "validation"}) {
    if (name == side + ".index.json") return true;
    if (!name.starts_with(side)) continue;
    std::string_view rest = std::string_view(name).substr(side.size());
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    if (rest.starts_with('-') && rest.size() > 6 && std::ranges::all_of(rest.substr(1, 5), digit)) {
      rest.remove_prefix(6);
      while (!rest.empty() && digit(rest[0])) rest.remove_prefix(1);
    }
    if (rest == ".bin" || rest == ".bin.documents") return true;
  }
  return false;
}

class Preparer {
 public:
  explicit Preparer(const PrepareOptions& options) : options_(options) {
    if (options_.threads == 0) options_.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }

  PrepareSummary run() {
    if (options_.ranks != nullptr && options_.ranks->size() > 1) helpers_.emplace(*options_.ranks);
    check_options();
    list_files();
    if (!bytes() && !characters()) tokenizer_ = load_tokenizer(tokenizer_file());
    WorkFolder work(options_.output);
    try {
      work.begin(key());
      const EncodeState state = prepare(work);
      publish(work, state);
    } catch (const Error& error) {
      // What the user must change begins anew; what failed otherwise goes on from here.
      if (error.code() == ExitCode::kData || error.code() == ExitCode::kUsage) work.remove();
      throw;
    }
    work.remove();
    return summary_;
  }

 private:
  bool bytes() const { return options_.tokenizer == "bytes"; }
  bool characters() const { return options_.tokenizer == "characters"; }
  bool tail() const { return options_.validation_inputs.empty() && options_.split == Split::kTail; }

  std::string tokenizer_file() const {
    std::error_code error;
    const fs::path given = options_.tokenizer;
    return fs::is_directory(given, error) ? (given / "tokenizer.json").string() : given.string();
  }

  void check_options() const {
    const auto refuse = [](const std::string& reason) { throw Error(ExitCode::kUsage, reason); };
    if (options_.inputs.empty()) refuse("there is no input");
    if (options_.shard_tokens < 0) refuse("tokens per shard must not be negative");
    if (options_.max_document_bytes < 1) refuse("the longest document must have at least 1 byte");
    if (options_.separator.find('\n') != std::string::npos) refuse("the separator must be a part of one line");
    if (!options_.validation_inputs.empty()) return;
    if (!(options_.validation_fraction > 0.0 && options_.validation_fraction < 1.0)) {
      refuse("the validation fraction must be in (0, 1), not " + std::to_string(options_.validation_fraction));
    }
  }

  void list_files() {
    files_ = list_inputs(options_.validation_inputs, options_.format);
    validation_files_ = files_.size();
    std::ranges::move(list_inputs(options_.inputs, options_.format), std::back_inserter(files_));
    for (const InputFile& file : files_) total_bytes_ += file.bytes;
    summary_.files = static_cast<int64_t>(files_.size());
  }

  /// A hash of all that the result depends on.
  uint64_t key() const {
    Json files = Json::array();
    for (const InputFile& file : files_) files.push_back({file.path, file.lines, file.bytes, file.modified});
    const Json json{{"version", 1},
                    {"files", std::move(files)},
                    {"validation_files", validation_files_},
                    {"field", options_.field},
                    {"separator", options_.separator},
                    {"tokenizer", tokenizer_ ? tokenizer_->to_json() : options_.tokenizer},
                    {"end_of_text", options_.end_of_text},
                    {"split", static_cast<int>(options_.split)},
                    {"validation_fraction", options_.validation_fraction},
                    {"shard_tokens", options_.shard_tokens},
                    {"max_document_bytes", options_.max_document_bytes},
                    {"block_bytes", options_.block_bytes}};
    return hash64_of(dump(json, -1));
  }

  BlockOptions block_options() const {
    return {options_.separator, options_.block_bytes, options_.max_document_bytes, bytes() || characters()};
  }

  PieceWorkers workers() { return {options_.threads, helpers_ ? &*helpers_ : nullptr}; }

  void report(bool encoding, int64_t done, int64_t documents, int64_t tokens, int64_t resumed) const {
    if (options_.on_progress) {
      options_.on_progress({encoding, std::min(done, total_bytes_), total_bytes_, documents, tokens, resumed});
    }
  }

  Scan scan(const WorkFolder& work) {
    if (std::optional<Scan> known = work.load_scan(files_.size())) return std::move(*known);
    work.discard_progress();
    ScanJob job;
    job.block.files = &files_;
    job.block.field = options_.field;
    job.block.max_line = options_.max_document_bytes;
    job.block.counting = bytes()        ? Counting::kBytes
                         : characters() ? Counting::kCodePoints
                         : tail()       ? Counting::kEncode
                                        : Counting::kNot;
    if (job.block.counting == Counting::kEncode) job.block.tokenizer = tokenizer_.get();
    job.block.end_tokens = options_.end_of_text.empty() ? 0 : 1;
    job.validation_files = validation_files_;
    job.blocks = block_options();
    job.workers = workers();
    job.record_file = work.path("documents.scan");
    job.on_progress = [&](int64_t done, int64_t documents) { report(false, done, documents, 0, 0); };
    Scan result = scan_documents(job);
    work.save_scan(result);
    return result;
  }

  EncodeState prepare(const WorkFolder& work) {
    const Scan scanned = scan(work);
    const Decisions decisions = decide(scanned, work.path("documents.scan"), options_, options_.duplicate_memory);
    summary_.duplicates = decisions.duplicates;
    summary_.empty_documents = scanned.empty;
    check_sides(decisions);
    if (bytes()) tokenizer_ = make_byte_tokenizer();
    if (characters()) tokenizer_ = make_character_tokenizer(scanned.code_points);
    summary_.vocabulary = tokenizer_->vocabulary();

    EncodeJob job;
    job.block.files = &files_;
    job.block.field = options_.field;
    job.block.max_line = options_.max_document_bytes;
    job.block.tokenizer = tokenizer_.get();
    if (!options_.end_of_text.empty()) job.block.end_of_text = end_of_text();
    job.blocks = block_options();
    job.scan = &scanned;
    job.decisions = &decisions;
    job.shard_tokens = options_.shard_tokens;
    job.sync_blocks = options_.sync_blocks;
    job.workers = workers();
    job.on_progress = [&](int64_t done, int64_t documents, int64_t tokens, int64_t resumed) {
      report(true, done, documents, tokens, resumed);
    };
    EncodeState state = encode_documents(job, work);
    summary_.train = state.sides[0].written;
    summary_.validation = state.sides[1].written;
    summary_.longest = state.longest;
    return state;
  }

  int32_t end_of_text() const {
    const bool usual = options_.end_of_text == kUsualEndOfText;
    const std::optional<int32_t> token =
        usual ? tokenizer_->end_of_text() : tokenizer_->find_token(options_.end_of_text);
    if (token) return *token;
    throw Error(ExitCode::kUsage,
                usual ? "the tokenizer has no token that is known to end documents"
                      : "the end of text \"" + options_.end_of_text + "\" is not one token of the tokenizer",
                "name a token that the tokenizer has, or leave it out");
  }

  void check_sides(const Decisions& decisions) const {
    const std::string& input = options_.inputs.front();
    const int64_t kept = decisions.train_documents + decisions.validation_documents;
    if (kept == 0) throw Error(ExitCode::kData, input + ": there is no text");
    const char* hint = "use more documents (or separate them by --separator), another fraction, or the split \"tail\"";
    if (!options_.validation_inputs.empty()) hint = "what is in the validation text is left out of the training text";
    const std::string of = " of the " + std::to_string(kept) + " different documents";
    if (decisions.train_documents == 0 && decisions.tail_tokens == 0) {
      throw Error(ExitCode::kData, input + ": none" + of + " is for training", hint);
    }
    if (decisions.validation_documents == 0) {
      throw Error(ExitCode::kData, input + ": none" + of + " is for validation", hint);
    }
  }

  /// Puts what lies finished in the work folder into its place. Done again after an interruption.
  void publish(const WorkFolder& work, const EncodeState& state) const {
    const fs::path output = options_.output;
    std::vector<std::string> names;
    for (const SideState& side : state.sides) {
      for (const ShardIndex::Shard& shard : side.shards) {
        names.push_back(shard.file + ".documents");
        names.push_back(shard.file);
      }
    }
    for (const fs::directory_entry& entry : fs::directory_iterator(output)) {
      const std::string name = entry.path().filename().string();
      if (is_output_name(name) && std::ranges::find(names, name) == names.end()) fs::remove(entry.path());
    }
    for (const std::string& name : names) {
      if (!fs::exists(work.path(name)) && fs::exists(output / name)) continue;
      std::error_code error;
      fs::rename(work.path(name), output / name, error);
      if (error) {
        throw Error(ExitCode::kInputOutput,
                    "cannot move " + work.path(name) + " into " + output.string() + ": " + error.message());
      }
    }
    sync_folder(output.string());
    if (options_.shard_tokens > 0) {
      for (size_t side = 0; side < 2; ++side) {
        ShardIndex index;
        index.path = (output / (side == 0 ? "train.index.json" : "validation.index.json")).string();
        index.vocabulary = tokenizer_->vocabulary();
        index.shards = state.sides[side].shards;
        write_shard_index(index);
      }
    }
    write_file_durably((output / "tokenizer.json").string(), tokenizer_->to_json());
    write_file_durably((output / "summary.json").string(), summary_json());
  }

  std::string summary_json() const {
    const auto side = [](const PrepareSummary::Side& value) {
      return Json{{"documents", value.documents},
                  {"tokens", value.tokens},
                  {"bytes", value.bytes},
                  {"bytes_per_token", static_cast<double>(value.bytes) / static_cast<double>(value.tokens)}};
    };
    Json json;
    json["vocabulary"] = options_.tokenizer;
    json["vocabulary_size"] = summary_.vocabulary;
    json["files"] = summary_.files;
    json["duplicates_removed"] = summary_.duplicates;
    json["empty_documents_removed"] = summary_.empty_documents;
    json["train"] = side(summary_.train);
    json["validation"] = side(summary_.validation);
    json["longest_document"] = {
        {"tokens", summary_.longest.tokens}, {"bytes", summary_.longest.bytes}, {"place", summary_.longest.place}};
    return dump(json, 2) + '\n';
  }

  PrepareOptions options_;
  std::optional<HelperRanks> helpers_;
  std::vector<InputFile> files_;
  size_t validation_files_ = 0;
  int64_t total_bytes_ = 0;
  std::unique_ptr<Tokenizer> tokenizer_;
  PrepareSummary summary_;
};

}  // namespace

PrepareSummary prepare_text(const PrepareOptions& options) { return Preparer(options).run(); }

void help_to_prepare(Communicator& ranks, int threads) {
  serve_requests(ranks, threads, [](std::string_view setup) {
    return WireReader(setup).get<PrepareWork>() == PrepareWork::kScan ? scan_work(setup) : encode_work(setup);
  });
}

}  // namespace tsugi
