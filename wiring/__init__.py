"""Who receives what the container holds: LightRAG, Celery, Prefect, the command line. One file per framework."""
