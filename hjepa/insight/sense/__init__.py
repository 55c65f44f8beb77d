"""What the levels know of the physical world, measured: one file for each examination, by name in KINDS."""

KINDS = {
    "levels": "what each level knows (R2 of linear and MLP probes), k-step error, action sensitivity",
    "occlusion": "the shuttle hidden in flight: landing error and return rate beside Kalman filters",
    "violations": "possible and impossible flights told apart by surprise: AUC, false alarms",
    "play": "surprise at run time: false alarms in normal play, time to detection, what reacting saves",
    "guards": "violations per 1,000 strokes with the planner's guardrails off and on",
    "effort": "joint energy per return against return rate, beside the oracle and reactive; compute",
}
