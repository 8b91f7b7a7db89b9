#include "launch/corpus/corpus.h"

#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/commands/commands.h"
#include "launch/corpus/handbook.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct Arguments {
  std::vector<std::string> html;
  std::string out;
  CorpusOptions options;
  bool json = false;
};

/// "…/html/en-US/" → "en-US".
std::string language_of(const std::string& folder) {
  std::filesystem::path path = std::filesystem::path(folder).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return path.filename();
}

struct Size {
  int64_t files = 0;
  int64_t documents = 0;
  int64_t bytes = 0;
};

/// By language, from the name of the file.
std::map<std::string, Size> sizes(const std::vector<CorpusFile>& split) {
  std::map<std::string, Size> out;
  for (const CorpusFile& file : split) {
    Size& size = out[file.name.substr(0, file.name.find('.'))];
    ++size.files;
    size.documents += static_cast<int64_t>(file.documents.size());
    for (const std::string& document : file.documents) size.bytes += static_cast<int64_t>(document.size());
  }
  return out;
}

nlohmann::ordered_json summary(const Corpus& corpus, const std::string& out) {
  const auto split = [](const std::vector<CorpusFile>& files) {
    nlohmann::ordered_json languages;
    for (const auto& [language, size] : sizes(files)) {
      languages[language] = {{"files", size.files}, {"documents", size.documents}, {"bytes", size.bytes}};
    }
    return languages;
  };
  return {{"out", out},
          {"train", split(corpus.train)},
          {"validation", split(corpus.validation)},
          {"task",
           {{"labels", corpus.labels},
            {"train", corpus.task_train.size()},
            {"validation", corpus.task_validation.size()},
            {"held_out_sections", corpus.held_out_sections}}},
          {"repeated_paragraphs", corpus.repeated_paragraphs}};
}

void print(const Corpus& corpus, const std::string& out) {
  const auto split = [&out](const char* name, const std::vector<CorpusFile>& files) {
    for (const auto& [language, size] : sizes(files)) {
      std::cout << out << '/' << name << ": " << language << ", " << size.files << " chapters, " << size.documents
                << " documents, " << size.bytes << " bytes\n";
    }
  };
  split("train", corpus.train);
  split("validation", corpus.validation);
  std::cout << out << "/task: " << corpus.labels.size() << " classes, " << corpus.task_train.size()
            << " paragraphs to train on, " << corpus.task_validation.size() << " to validate on ("
            << corpus.held_out_sections << " sections held out of the text)\n"
            << "left out: " << corpus.repeated_paragraphs << " paragraphs that stand elsewhere too\n";
}

void run_handbook(const Arguments& arguments) {
  std::vector<Book> books;
  for (const std::string& folder : arguments.html) books.push_back({language_of(folder), read_book(folder)});
  for (size_t i = 0; i < books.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (books[i].language == books[j].language) {
        throw Error(ExitCode::kUsage, "--html: two folders are called " + books[i].language,
                    "the folder's name is the language and names the files: rename one");
      }
    }
  }
  const Corpus corpus = make_corpus(books, arguments.options);
  write_corpus(corpus, arguments.out);
  if (arguments.json) {
    std::cout << summary(corpus, arguments.out).dump() << '\n';
  } else {
    print(corpus, arguments.out);
  }
}

}  // namespace

void add_corpus(Command app) {
  Command corpus = app.subcommand("corpus", "Gather texts to train on");
  corpus.require_subcommand();
  Command handbook = corpus.subcommand(
      "handbook", "From a manual in HTML (the Debian Administrator's Handbook): text by chapter, and a labelled task");
  const auto arguments = std::make_shared<Arguments>();
  handbook
      .option("--html", arguments->html,
              "folders with the HTML pages, one per language; their names name the files, and the labelled "
              "task is made from the first")
      .required();
  handbook.option("--out", arguments->out, "folder to write train/, validation/ and task/ into; must not exist")
      .required();
  CorpusOptions& options = arguments->options;
  const auto number = [&handbook](const char* name, int& value, int smallest, const char* description) {
    handbook.option(name, value, description).show_default().range(smallest, 1000000);
  };
  number("--validation-every", options.validation_every, 2, "of every so many chapters one is validation text");
  number("--classes", options.classes, 2, "most classes of the task");
  number("--train-per-class", options.train_per_class, 1, "paragraphs per class to fine-tune on");
  number("--validation-per-class", options.validation_per_class, 1, "most paragraphs per class to validate on");
  handbook.flag("--json", arguments->json, "print the result as one JSON object, and nothing else");
  handbook.run([arguments] { return run_handbook(*arguments), 0; });
}

}  // namespace tsugi
