#include "core/data/prepare.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/data/file.h"
#include "core/data/hash.h"
#include "core/data/token_file.h"
#include "core/data/tokenizer/tokenizer.h"
#include "core/data/utf8.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;

/// A kept document: a range of bytes of a file.
struct Document {
  size_t file = 0;
  int64_t begin = 0;
  int64_t length = 0;
  int64_t tokens = 0;
  uint64_t hash = 0;
  bool validation = false;
};

struct TextKey {
  uint64_t hash;
  int64_t length;
  bool operator==(const TextKey&) const = default;
};
struct TextKeyHash {
  size_t operator()(const TextKey& key) const { return key.hash; }
};

std::string_view text_of(const MappedFile& map) {
  return {reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size()};
}

Error folder_error(const std::string& path, const std::error_code& error) {
  return Error(ExitCode::kInputOutput, "cannot read " + path + ": " + error.message());
}

/// The file itself, or the *.txt files below the folder, sorted by path.
std::vector<std::string> list_files(const std::string& input) {
  std::error_code error;
  const fs::file_status status = fs::status(input, error);
  if (!fs::exists(status))
    throw folder_error(input, error ? error : std::make_error_code(std::errc::no_such_file_or_directory));
  if (!fs::is_directory(status)) return {input};
  std::vector<std::string> files;
  fs::recursive_directory_iterator entry(input, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    std::error_code ignored;  // a link to nowhere is not a regular file
    if (entry->path().extension() == ".txt" && entry->is_regular_file(ignored)) files.push_back(entry->path().string());
  }
  if (error) throw folder_error(input, error);
  if (files.empty()) throw Error(ExitCode::kData, input + ": the folder holds no .txt file");
  std::ranges::sort(files);
  return files;
}

/// Calls visit(begin, length) for the documents of a file: all of it, or what lies between lines of one form feed.
template <class Visit>
void for_each_document(std::string_view text, bool form_feed_separates, const Visit& visit) {
  size_t begin = 0;
  for (size_t line = form_feed_separates ? text.find('\f') : std::string_view::npos; line != std::string_view::npos;
       line = text.find('\f', line + 1)) {
    if (line != 0 && text[line - 1] != '\n') continue;
    size_t next = line + 1;
    if (next < text.size() && text[next] == '\r') ++next;
    if (next < text.size() && text[next] != '\n') continue;
    visit(begin, line - begin);
    begin = std::min(next + 1, text.size());
    line = begin - 1;
  }
  visit(begin, text.size() - begin);
}

class Preparer {
 public:
  explicit Preparer(const PrepareOptions& options) : options_(options) {}

  PrepareSummary run() {
    check_options();
    if (!options_.validation_input.empty()) scan(options_.validation_input, true);
    scan(options_.input, false);
    if (options_.validation_input.empty()) split();
    tokenizer_ = make_tokenizer();
    summary_.vocabulary = tokenizer_->vocabulary();
    write();
    return summary_;
  }

 private:
  bool characters() const { return options_.vocabulary == PrepareOptions::Vocabulary::kCharacters; }

  void check_options() const {
    if (!options_.validation_input.empty()) return;
    if (!(options_.validation_fraction > 0.0 && options_.validation_fraction < 1.0)) {
      throw Error(ExitCode::kUsage,
                  "the validation fraction must be in (0, 1), not " + std::to_string(options_.validation_fraction));
    }
  }

  void scan(const std::string& input, bool validation) {
    for (const std::string& path : list_files(input)) {
      const size_t file = files_.size();
      files_.push_back(path);
      const MappedFile map(path);
      const std::string_view text = text_of(map);
      for_each_document(text, options_.form_feed_separates,
                        [&](size_t begin, size_t length) { add(file, text, begin, length, validation); });
    }
    summary_.files = static_cast<int64_t>(files_.size());
  }

  void add(size_t file, std::string_view text, size_t begin, size_t length, bool validation) {
    if (length == 0) {
      ++summary_.empty_documents;
      return;
    }
    const std::string_view body = text.substr(begin, length);
    const uint64_t hash = hash64(std::as_bytes(std::span(body.data(), body.size())));
    if (!seen_.insert({hash, static_cast<int64_t>(length)}).second) {
      ++summary_.duplicates;
      return;
    }
    const int64_t tokens = characters() ? collect(file, text, begin, length) : static_cast<int64_t>(length);
    documents_.push_back({file, static_cast<int64_t>(begin), static_cast<int64_t>(length), tokens, hash, validation});
  }

  /// Notes the characters of a document and returns how many there are.
  int64_t collect(size_t file, std::string_view text, size_t begin, size_t length) {
    const std::string_view body = text.substr(begin, length);
    int64_t count = 0;
    for (size_t offset = 0; offset < body.size(); ++count) {
      const CodePoint point = code_point_at(body, offset);
      if (point.bytes == 0) {
        throw Error(ExitCode::kData, files_[file] + ": byte " + std::to_string(begin + offset) + ": not valid UTF-8",
                    "convert the file to UTF-8, or use the vocabulary \"bytes\"");
      }
      occurs_[point.value] = true;
      offset += static_cast<size_t>(point.bytes);
    }
    return count;
  }

  void split() {
    if (options_.split == PrepareOptions::Split::kDocuments) {
      for (Document& document : documents_) {
        document.validation = static_cast<double>(document.hash >> 11) * 0x1p-53 < options_.validation_fraction;
      }
      return;
    }
    int64_t total = 0;
    for (const Document& document : documents_) total += document.tokens;
    // nanoGPT: train = data[: int(n * 0.9)].
    int64_t train = static_cast<int64_t>(static_cast<double>(total) * (1.0 - options_.validation_fraction));
    for (size_t i = 0; i < documents_.size(); ++i) {
      if (train >= documents_[i].tokens) {
        train -= documents_[i].tokens;
        continue;
      }
      tail_ = {i, train};  // the document that the border cuts, and how many of its tokens are before it
      for (size_t j = i; j < documents_.size(); ++j) documents_[j].validation = true;
      return;
    }
  }

  std::unique_ptr<Tokenizer> make_tokenizer() const {
    if (!characters()) return make_byte_tokenizer();
    std::vector<char32_t> found;
    for (char32_t c = 0; c < occurs_.size(); ++c) {
      if (occurs_[c]) found.push_back(c);
    }
    return make_character_tokenizer(std::move(found));
  }

  void check_sides() const {
    int64_t train = tail_.tokens_before;
    int64_t validation = 0;
    for (const Document& document : documents_) (document.validation ? validation : train) += document.tokens;
    if (train + validation == 0) throw Error(ExitCode::kData, options_.input + ": there is no text");
    const char* hint = "use more documents (or separate them by form feeds), another fraction, or the split \"tail\"";
    if (!options_.validation_input.empty()) hint = "what is in the validation text is left out of the training text";
    const std::string of = " of the " + std::to_string(documents_.size()) + " different documents";
    if (train == 0) throw Error(ExitCode::kData, options_.input + ": none" + of + " is for training", hint);
    if (validation == 0) throw Error(ExitCode::kData, options_.input + ": none" + of + " is for validation", hint);
  }

  void write() {
    check_sides();
    std::error_code error;
    fs::create_directories(options_.output, error);
    if (error) throw Error(ExitCode::kInputOutput, "cannot make " + options_.output + ": " + error.message());
    const fs::path folder = options_.output;
    TokenFileWriter train((folder / "train.bin").string(), tokenizer_->vocabulary());
    TokenFileWriter validation((folder / "validation.bin").string(), tokenizer_->vocabulary());
    encode_documents(train, validation);
    train.finish();
    validation.finish();
    summary_.train.documents = train.documents();
    summary_.train.tokens = train.tokens();
    summary_.validation.documents = validation.documents();
    summary_.validation.tokens = validation.tokens();
    write_file_durably((folder / "tokenizer.json").string(), tokenizer_->to_json());
    write_file_durably((folder / "summary.json").string(), summary_json());
  }

  void encode_documents(TokenFileWriter& train, TokenFileWriter& validation) {
    std::optional<MappedFile> map;
    std::optional<size_t> mapped;
    for (size_t i = 0; i < documents_.size(); ++i) {
      const Document& document = documents_[i];
      if (mapped != document.file) {
        map.emplace(files_[document.file]);
        mapped = document.file;
      }
      const std::string_view text = text_of(*map);
      if (static_cast<size_t>(document.begin + document.length) > text.size()) {
        throw Error(ExitCode::kData, files_[document.file] + ": the file became shorter while it was read");
      }
      const std::string_view body =
          text.substr(static_cast<size_t>(document.begin), static_cast<size_t>(document.length));
      const std::vector<int32_t> tokens = encode(document, body);
      const size_t before = tail_.document == i ? static_cast<size_t>(tail_.tokens_before) : 0;
      const std::span<const int32_t> all(tokens);
      if (before > 0) {
        train.add_document(all.first(before));
        const std::vector<int32_t> head(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(before));
        const auto bytes = static_cast<int64_t>(tokenizer_->decode(head).size());
        summary_.train.bytes += bytes;
        summary_.validation.bytes -= bytes;
      }
      (document.validation ? validation : train).add_document(all.subspan(before));
      (document.validation ? summary_.validation : summary_.train).bytes += document.length;
    }
  }

  std::vector<int32_t> encode(const Document& document, std::string_view body) const {
    std::vector<int32_t> tokens;
    try {
      tokens = tokenizer_->encode(body);
    } catch (const Error& error) {
      throw Error(error.code(), files_[document.file] + ": the file changed while it was read: " + error.what());
    }
    if (static_cast<int64_t>(tokens.size()) != document.tokens) {
      throw Error(ExitCode::kData, files_[document.file] + ": the file changed while it was read");
    }
    return tokens;
  }

  std::string summary_json() const {
    using Json = nlohmann::ordered_json;
    const auto side = [](const PrepareSummary::Side& value) {
      return Json{{"documents", value.documents}, {"tokens", value.tokens}, {"bytes", value.bytes}};
    };
    Json json;
    json["vocabulary"] = characters() ? "characters" : "bytes";
    json["vocabulary_size"] = summary_.vocabulary;
    json["files"] = summary_.files;
    json["duplicates_removed"] = summary_.duplicates;
    json["empty_documents_removed"] = summary_.empty_documents;
    json["train"] = side(summary_.train);
    json["validation"] = side(summary_.validation);
    return json.dump(2) + '\n';
  }

  struct Tail {
    size_t document = SIZE_MAX;
    int64_t tokens_before = 0;
  };

  const PrepareOptions& options_;
  std::vector<std::string> files_;
  std::vector<Document> documents_;
  std::unordered_set<TextKey, TextKeyHash> seen_;
  std::vector<bool> occurs_ = std::vector<bool>(0x110000);
  std::unique_ptr<Tokenizer> tokenizer_;
  Tail tail_;
  PrepareSummary summary_;
};

}  // namespace

PrepareSummary prepare_text(const PrepareOptions& options) { return Preparer(options).run(); }

}  // namespace tsugi
