// The frame of a report's page.
#pragma once

#include <string>
#include <vector>

#include "launch/report/sweep_report.h"

namespace tsugi {

/// A figure with its caption; `svg` and `caption` are markup.
std::string figure(const std::string& svg, const std::string& caption);

/// A whole HTML document: styles inside, nothing from elsewhere, light and dark as the reader's system has it.
std::string page(const std::string& title, const std::string& summary, const std::vector<ReportSection>& sections);

}  // namespace tsugi
