"""The VLM behind one interface: Gemini, anything that speaks the OpenAI API, and a scripted one for tests."""
