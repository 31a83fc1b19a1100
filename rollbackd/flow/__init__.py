"""The only room that joins the stations: it gathers evidence, moves an incident from phase to phase, and does what people ask."""
