# Runs of configs with hosted models, servers or embedded models. Not built where it was written: no image registry can be
# reached there. docker build -t personalrm . && docker run -v "$PWD/results:/app/results" personalrm run config/no_model.yaml
FROM python:3.11-slim-bookworm
RUN useradd --create-home runner && mkdir /app && chown runner /app
USER runner
WORKDIR /app
RUN python -m venv /app/venv
ENV PATH=/app/venv/bin:$PATH PYTHONUNBUFFERED=1
COPY --chown=runner requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY --chown=runner . .
RUN pip install --no-cache-dir --no-deps -e .
ENTRYPOINT ["personalrm"]
CMD ["--help"]
