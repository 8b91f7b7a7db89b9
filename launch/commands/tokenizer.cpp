#include "core/data/tokenizer/tokenizer.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <deque>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/data/file.h"
#include "core/data/folders.h"
#include "core/data/input_stream.h"
#include "core/data/json.h"
#include "core/data/prepare/blocks.h"
#include "core/data/prepare/documents.h"
#include "core/data/prepare/inputs.h"
#include "core/data/tokenizer/bpe_trainer.h"
#include "dist/affinity.h"
#include "launch/commands/commands.h"
#include "launch/model_folder.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct CodecOptions {
  std::string tokenizer;
  bool plain = false;
  bool no_template = false;
  bool skip_special = false;
  bool json_lines = false;
  bool json = false;
};

std::unique_ptr<Tokenizer> open_either(const std::string& path) {
  return std::filesystem::is_directory(path) ? open_tokenizer(path, "tokenizer") : load_tokenizer(path);
}

std::string read_all(std::istream& in) {
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string dump(const nlohmann::ordered_json& json) {
  // Bytes need not be text: replaced, as terminals do.
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Calls visit(value) for each line of the standard input, a JSON value each.
template <class Visit>
void for_each_json_line(const Visit& visit) {
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    visit(parse_json(line, "line " + std::to_string(number)));
  }
}

void encode(const CodecOptions& options) {
  const std::unique_ptr<Tokenizer> tokenizer = open_either(options.tokenizer);
  const EncodeOptions how{!options.no_template, !options.plain};
  if (options.json_lines) {
    for_each_json_line(
        [&](const JsonValue& text) { std::cout << dump({{"ids", tokenizer->encode(text.as_string(), how)}}) << "\n"; });
    return;
  }
  const std::vector<int32_t> ids = tokenizer->encode(read_all(std::cin), how);
  if (options.json) {
    std::cout << dump({{"ids", ids}}) << std::endl;
    return;
  }
  for (size_t i = 0; i < ids.size(); ++i) std::cout << (i == 0 ? "" : " ") << ids[i];
  std::cout << std::endl;
}

std::vector<int32_t> ids_of(const JsonValue& value) {
  std::vector<int32_t> ids;
  const JsonValue list = value.is_object() ? value.require_array("ids") : value;
  for (const JsonValue& id : list.elements()) ids.push_back(static_cast<int32_t>(id.as_int(0, INT32_MAX)));
  return ids;
}

std::vector<int32_t> read_ids() {
  const std::string text = read_all(std::cin);
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && (text[first] == '{' || text[first] == '[')) {
    return ids_of(parse_json(text, "standard input"));
  }
  std::vector<int32_t> ids;
  const char* p = text.data();
  const char* const end = p + text.size();
  while (true) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) ++p;
    if (p == end) return ids;
    int32_t id = 0;
    const auto [next, error] = std::from_chars(p, end, id);
    if (error != std::errc()) {
      throw Error(ExitCode::kData, "standard input: byte " + std::to_string(p - text.data()) + ": not a token id",
                  "give ids separated by spaces, or {\"ids\":[…]}");
    }
    ids.push_back(id);
    p = next;
  }
}

std::string decode_ids(const Tokenizer& tokenizer, std::vector<int32_t> ids, bool skip_special) {
  if (skip_special) {
    std::erase_if(ids, [&](int32_t id) { return id >= 0 && id < tokenizer.vocabulary() && tokenizer.is_special(id); });
  }
  return tokenizer.decode(ids);
}

void decode(const CodecOptions& options) {
  const std::unique_ptr<Tokenizer> tokenizer = open_either(options.tokenizer);
  if (options.json_lines) {
    for_each_json_line([&](const JsonValue& value) {
      std::cout << dump({{"text", decode_ids(*tokenizer, ids_of(value), options.skip_special)}}) << "\n";
    });
    return;
  }
  const std::string text = decode_ids(*tokenizer, read_ids(), options.skip_special);
  if (options.json) {
    std::cout << dump({{"text", text}}) << std::endl;
  } else {
    std::cout << text << std::flush;
  }
}

struct TrainOptions {
  std::vector<std::string> text;
  std::string out;
  std::string pattern = "llama3";
  std::string model = "bpe";
  bool cased = false;
  int64_t alphabet = 1000;
  std::string field = "text";
  BpeTrainingOptions training;
  PieceCounter::Options pieces;
  bool lines = false;
  int threads = 0;
  bool json = false;
};

/// Lines with their line feeds.
std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t size = std::min(text.find('\n'), text.size() - 1) + 1;
    lines.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

/// Documents on their way to the counter. Small ones go in together, so that there is work for all threads.
class TextBatch {
 public:
  TextBatch(PieceCounter& counter, bool lines) : counter_(counter), lines_(lines) {}

  /// `text` must live until count().
  void add(std::string_view text) {
    if (lines_) {
      const std::vector<std::string_view> lines = split_lines(text);
      documents_.insert(documents_.end(), lines.begin(), lines.end());
    } else {
      documents_.push_back(text);
    }
    bytes_ += text.size();
  }
  void add_file(const std::string& path) {
    files_.emplace_back(path);
    const std::span<const std::byte> bytes = files_.back().bytes();
    add({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  void add_copy(std::string_view text) { add(copies_.emplace_back(text)); }

  bool large() const { return bytes_ >= (size_t{64} << 20); }
  void count() {
    counter_.add(documents_);
    documents_.clear();
    copies_.clear();
    files_.clear();
    bytes_ = 0;
  }

 private:
  PieceCounter& counter_;
  bool lines_;
  std::vector<std::string_view> documents_;
  std::vector<MappedFile> files_;
  std::deque<std::string> copies_;
  size_t bytes_ = 0;
};

void count_files(const TrainOptions& options, PieceCounter& counter) {
  TextBatch batch(counter, options.lines);
  for (const InputFile& file : list_inputs(options.text, PrepareOptions::Format::kByName)) {
    if (!file.lines && without_compression(file.path) == file.path) {
      batch.add_file(file.path);  // mapped, of any size
      if (batch.large()) batch.count();
      continue;
    }
    const BlockOptions how;
    const std::vector<InputFile> one = {file};
    BlockReader reader(one, how);
    for (TextBlock block; reader.next(block);) {
      for_each_document(block, one, options.field, how.max_document_bytes,
                        [&](const DocumentPiece& piece) { batch.add_copy(piece.text); });
      if (batch.large()) batch.count();
    }
  }
  batch.count();
}

void train(TrainOptions options) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  options.pieces.pattern = *pattern_of_name(options.pattern);
  const BertNormalizer bert{.lowercase = !options.cased};
  const bool words = options.model == "wordpiece";
  if (words) {
    options.pieces.bert = bert;
    options.training.wordpiece_alphabet = options.alphabet;
  }
  ThreadPool pool(options.threads > 0 ? options.threads : static_cast<int>(allowed_cpus().size()));
  PieceCounter counter(pool, options.pieces);
  count_files(options, counter);
  if (counter.different() == 0) throw Error(ExitCode::kData, options.text.front() + ": there is no text");
  const double counted = seconds();
  const BpeVocabulary vocabulary = train_bpe(counter, options.training);
  make_folders(options.out);
  write_file_durably((std::filesystem::path(options.out) / "tokenizer.json").string(),
                     words ? wordpiece_tokenizer_json(vocabulary, options.training, bert)
                           : bpe_tokenizer_json(vocabulary, options.training, options.pieces));
  const double total = seconds();
  if (options.json) {
    std::cout << dump({{"vocabulary", vocabulary.names.size()},
                       {"merges", vocabulary.merges.size()},
                       {"bytes", counter.bytes()},
                       {"invalid_bytes", counter.invalid_bytes()},
                       {"pieces", counter.different()},
                       {"forgotten_pieces", counter.forgotten()},
                       {"seconds_counting", counted},
                       {"seconds", total}})
              << std::endl;
    return;
  }
  std::cout << counter.bytes() << " bytes of text, " << counter.different() << " different pieces, counted in "
            << counted << " s\n";
  if (counter.invalid_bytes() > 0) std::cout << counter.invalid_bytes() << " bytes were no UTF-8 and were skipped\n";
  if (counter.forgotten() > 0) {
    std::cout << counter.forgotten() << " rare pieces were forgotten to bound memory (see --most-pieces)\n";
  }
  std::cout << "vocabulary of " << vocabulary.names.size() << " tokens written to " << options.out << " after " << total
            << " s\n";
  if (static_cast<int64_t>(vocabulary.names.size()) < options.training.vocabulary) {
    std::cout << "the text has not enough pairs for the " << options.training.vocabulary << " tokens asked for\n";
  }
}

void add_train(Command tokenizer) {
  const auto options = std::make_shared<TrainOptions>();
  Command command = tokenizer.subcommand("train", "A vocabulary from text: byte-level BPE, or WordPiece");
  command
      .option("--text", options->text,
              "what prepare reads: text files, each a document; .jsonl, an object a line; .gz and .zst of both; "
              "folders of them, and patterns")
      .required();
  command.option("--field", options->field, "of JSON lines: the member that is the text").show_default();
  command.option("--out", options->out, "folder to write tokenizer.json to; made if it is not there").required();
  command.option("--vocabulary", options->training.vocabulary, "tokens in all").show_default();
  command.option("--model", options->model, "bpe: of bytes; wordpiece: of characters, as BERT's")
      .show_default()
      .one_of({"bpe", "wordpiece"});
  const Option cased = command.flag("--cased", options->cased, "wordpiece: keep capital letters and accents");
  const Option alphabet =
      command.option("--alphabet", options->alphabet, "wordpiece: so many characters, the most frequent, are no [UNK]");
  Option(alphabet).show_default().range(int64_t{1}, int64_t{1} << 21);
  const Option pattern = command.option("--pattern", options->pattern, "how text is cut before pairs are merged");
  Option(pattern).show_default().one_of({"gpt2", "llama3", "qwen2", "o200k"});
  const Option special =
      command.option("--special", options->training.special_tokens,
                     "special tokens; they have the first ids (wordpiece: [PAD] [UNK] [CLS] [SEP] [MASK])");
  Option(special).show_default();
  command.option("--min-frequency", options->training.min_frequency, "pairs that occur less often are not merged")
      .show_default();
  const Option nfc = command.flag("--nfc", options->pieces.nfc, "compose characters first (Unicode NFC)");
  command.flag("--lines", options->lines, "each line is a document, as Hugging Face's train() has it");
  command
      .option("--most-pieces", options->pieces.most_pieces,
              "bound of memory: when there are more different pieces, the rarest are forgotten")
      .show_default()
      .range(int64_t{1} << 10, int64_t{1} << 30);
  command.option("--threads", options->threads, "0: all CPUs").show_default().range(0, 1024);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([=] {
    const bool words = options->model == "wordpiece";
    for (const Option& other : words ? std::vector{pattern, nfc} : std::vector{cased, alphabet}) {
      if (!other.given()) continue;
      throw Error(ExitCode::kUsage, other.name() + " has no meaning with --model " + options->model);
    }
    if (words && !special.given()) options->training.special_tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    return train(*options), 0;
  });
}

Command add_codec(Command tokenizer, const char* name, const char* description,
                  const std::shared_ptr<CodecOptions>& options) {
  Command command = tokenizer.subcommand(name, description);
  command.option("--tokenizer", options->tokenizer, "tokenizer.json, or a folder that has one").required();
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  return command;
}

}  // namespace

void add_tokenizer(Command app) {
  Command tokenizer = app.subcommand("tokenizer", "Train a vocabulary; turn text into ids and back");
  tokenizer.require_subcommand();
  add_train(tokenizer);

  const auto encoding = std::make_shared<CodecOptions>();
  Command to_ids = add_codec(tokenizer, "encode", "Text on standard input to ids on standard output", encoding);
  to_ids.flag("--plain", encoding->plain, "special tokens in the text are ordinary text");
  to_ids.flag("--no-template", encoding->no_template,
              "without the tokens that the file puts around a text (<|begin_of_text|> …)");
  to_ids.flag("--json-lines", encoding->json_lines,
              "each line of the input is a JSON string and gives a line {\"ids\":[…]}");
  to_ids.run([encoding] { return encode(*encoding), 0; });

  const auto decoding = std::make_shared<CodecOptions>();
  Command to_text = add_codec(tokenizer, "decode", "Ids on standard input to text on standard output", decoding);
  to_text.flag("--skip-special", decoding->skip_special, "leave special tokens out");
  to_text.flag("--json-lines", decoding->json_lines,
               "each line of the input is {\"ids\":[…]} and gives a line {\"text\":…}");
  to_text.run([decoding] { return decode(*decoding), 0; });
}

}  // namespace tsugi
