#include "core/data/prepare.h"

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/commands/commands.h"

namespace tsugi {
namespace {

struct Options {
  PrepareOptions prepare;
  std::string vocabulary = "bytes";
  std::string split = "documents";
  bool json = false;
};

nlohmann::ordered_json side(const PrepareSummary::Side& one) {
  return {{"documents", one.documents}, {"tokens", one.tokens}, {"bytes", one.bytes}};
}

int run_prepare(Options options) {
  using Vocabulary = PrepareOptions::Vocabulary;
  using Split = PrepareOptions::Split;
  options.prepare.vocabulary = options.vocabulary == "bytes" ? Vocabulary::kBytes : Vocabulary::kCharacters;
  options.prepare.split = options.split == "documents" ? Split::kDocuments : Split::kTail;
  const PrepareSummary summary = prepare_text(options.prepare);
  if (options.json) {
    nlohmann::ordered_json json{{"files", summary.files},
                                {"duplicates", summary.duplicates},
                                {"empty_documents", summary.empty_documents},
                                {"vocabulary", summary.vocabulary},
                                {"train", side(summary.train)},
                                {"validation", side(summary.validation)}};
    std::cout << json.dump() << std::endl;
    return 0;
  }
  std::cout << summary.files << " files, vocabulary of " << summary.vocabulary << "; left out: " << summary.duplicates
            << " duplicate and " << summary.empty_documents << " empty documents\n"
            << "train      " << summary.train.tokens << " tokens in " << summary.train.documents << " documents\n"
            << "validation " << summary.validation.tokens << " tokens in " << summary.validation.documents
            << " documents\n"
            << "written to " << options.prepare.output << std::endl;
  return 0;
}

}  // namespace

void add_prepare(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("prepare", "Turn text into token files");
  command->add_option("--text", options->prepare.input, "a text file, or a folder of .txt files")->required();
  command->add_option("--validation-text", options->prepare.validation_input,
                      "validation text, given alike; default: a part of --text");
  command->add_option("--out", options->prepare.output, "folder to write to")->required();
  command->add_option("--vocabulary", options->vocabulary, "one id per byte or per character")
      ->capture_default_str()
      ->check(CLI::IsMember({"bytes", "characters"}));
  command
      ->add_option("--split", options->split,
                   "validate on whole documents chosen by a hash, or on the tail of all text")
      ->capture_default_str()
      ->check(CLI::IsMember({"documents", "tail"}));
  command->add_option("--validation-fraction", options->prepare.validation_fraction, "how much to validate on")
      ->capture_default_str();
  command->add_flag("--form-feed", options->prepare.form_feed_separates,
                    "a line with one form feed ends a document (default: a document is a file)");
  command->add_flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command->callback([options, &exit_code] { exit_code = run_prepare(*options); });
}

}  // namespace tsugi
