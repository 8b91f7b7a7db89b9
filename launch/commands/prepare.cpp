#include "core/data/prepare.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/commands/commands.h"
#include "launch/run_world.h"

namespace tsugi {
namespace {

struct PrepareArguments {
  PrepareOptions prepare;
  std::string format = "auto";
  std::string split = "documents";
  bool form_feed = false;
  bool append_end_of_text = false;
  bool json = false;
};

/// One line on a terminal that is overwritten; else a line every half a minute.
class ProgressLine {
 public:
  explicit ProgressLine(bool terminal) : terminal_(terminal) {}
  ~ProgressLine() {
    if (terminal_ && shown_) std::fputs("\r\033[K", stderr);
  }
  void show(const PrepareProgress& progress) {
    const auto now = std::chrono::steady_clock::now();
    if (progress.encoding != encoding_) {
      encoding_ = progress.encoding;
      begin_ = now;
    }
    const double least = terminal_ ? 0.2 : 30.0;
    if (std::chrono::duration<double>(now - last_).count() < least) return;
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double done = static_cast<double>(progress.bytes);
    const double rate = seconds > 0.0 ? (done - static_cast<double>(progress.resumed_bytes)) / seconds : 0.0;
    char text[160];
    std::snprintf(text, sizeof(text), "prepare: %s %.0f%% of %.1f MB, %lld documents, %.0f MB/s, %.0f s left",
                  progress.encoding ? "encoding" : "reading",
                  100.0 * done / static_cast<double>(std::max<int64_t>(progress.total_bytes, 1)),
                  static_cast<double>(progress.total_bytes) / 1e6, static_cast<long long>(progress.documents),
                  rate / 1e6, rate > 0.0 ? (static_cast<double>(progress.total_bytes) - done) / rate : 0.0);
    std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", text);
    std::fflush(stderr);
    shown_ = true;
  }

 private:
  using Time = std::chrono::steady_clock::time_point;
  bool terminal_;
  bool shown_ = false;
  bool encoding_ = false;
  Time begin_ = std::chrono::steady_clock::now();
  Time last_ = begin_;
};

nlohmann::ordered_json side(const PrepareSummary::Side& one) {
  return {{"documents", one.documents}, {"tokens", one.tokens}, {"bytes", one.bytes}};
}

void print_side(const char* name, const PrepareSummary::Side& one) {
  std::cout << name << one.tokens << " tokens in " << one.documents << " documents, "
            << static_cast<double>(one.bytes) / static_cast<double>(one.tokens) << " bytes per token\n";
}

int run_prepare(World& world, PrepareArguments options) {
  using Format = PrepareOptions::Format;
  using Split = PrepareOptions::Split;
  PrepareOptions& prepare = options.prepare;
  prepare.split = options.split == "documents" ? Split::kDocuments : Split::kTail;
  prepare.format = options.format == "text"    ? Format::kText
                   : options.format == "jsonl" ? Format::kLines
                                               : Format::kByName;
  if (options.form_feed) prepare.separator = "\f";
  if (options.append_end_of_text && prepare.end_of_text.empty()) prepare.end_of_text = kUsualEndOfText;
  prepare.threads = world.threads();
  prepare.ranks = &world.communicator();
  PrepareSummary summary;
  on_all_ranks(world.communicator(), [&] {
    if (world.rank() > 0) return help_to_prepare(world.communicator(), world.threads());
    ProgressLine line(::isatty(STDERR_FILENO) == 1);
    prepare.on_progress = [&line](const PrepareProgress& progress) { line.show(progress); };
    summary = prepare_text(prepare);
  });
  if (world.rank() > 0) return 0;
  if (options.json) {
    nlohmann::ordered_json json{{"files", summary.files},
                                {"duplicates", summary.duplicates},
                                {"empty_documents", summary.empty_documents},
                                {"vocabulary", summary.vocabulary},
                                {"train", side(summary.train)},
                                {"validation", side(summary.validation)},
                                {"longest_document_tokens", summary.longest.tokens}};
    std::cout << json.dump() << std::endl;
    return 0;
  }
  std::cout << summary.files << " files, vocabulary of " << summary.vocabulary << "; left out: " << summary.duplicates
            << " duplicate and " << summary.empty_documents << " empty documents\n";
  print_side("train      ", summary.train);
  print_side("validation ", summary.validation);
  std::cout << "longest document: " << summary.longest.tokens << " tokens, " << summary.longest.place << "\n"
            << "written to " << prepare.output << std::endl;
  return 0;
}

}  // namespace

void add_prepare(Command app) {
  auto options = std::make_shared<PrepareArguments>();
  PrepareOptions& prepare = options->prepare;
  Command command = app.subcommand("prepare",
                                   "Turn text into token files, alone or on many ranks. Interrupted in any way, the "
                                   "same command goes on where it was");
  command
      .option("--text,--input", prepare.inputs,
              "files, folders (their .txt and .jsonl files) and patterns; also .gz and .zst")
      .required();
  command.option("--validation-text", prepare.validation_inputs,
                 "validation text, given alike; default: a part of --text");
  command.option("--out", prepare.output, "folder to write to").required();
  command
      .option("--format", options->format,
              "what the files hold; auto: .jsonl and .ndjson JSON objects, one per line, all else text")
      .show_default()
      .one_of({"auto", "text", "jsonl"});
  command.option("--field", prepare.field, "of JSON: the member that is the text of a document").show_default();
  command
      .option("--tokenizer,--vocabulary", prepare.tokenizer,
              "bytes, characters, or a tokenizer.json or a folder with one")
      .show_default();
  command.flag("--append-eot", options->append_end_of_text,
               "end every document with the tokenizer's end of text, or that of --eot");
  command.option("--eot", prepare.end_of_text, "end every document with this one token of the tokenizer");
  command.option("--split", options->split, "validate on whole documents chosen by a hash, or on the tail of all text")
      .show_default()
      .one_of({"documents", "tail"});
  command.option("--validation-fraction", prepare.validation_fraction, "how much to validate on").show_default();
  Option separator = command.option("--separator", prepare.separator,
                                    "of text: a line that is this ends a document (default: a document is a file)");
  command.flag("--form-feed", options->form_feed, "the same with one form feed").excludes(separator);
  command
      .option("--shard-tokens", prepare.shard_tokens,
              "write files of at most so many tokens (a longer document is one file), and an index; 0: one file")
      .show_default()
      .non_negative();
  command.option("--max-document-bytes", prepare.max_document_bytes, "longest document, and line of JSON")
      .show_default()
      .positive();
  command.option("--threads", prepare.threads, "per rank; 0: the rank's share, alone all CPUs")
      .show_default()
      .range(0, 4096);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] {
    WorldOptions world;
    world.threads = options->prepare.threads;
    return run_in_world(world, [&](World& joined) { return run_prepare(joined, *options); });
  });
}

}  // namespace tsugi
